"""Distillation: a student learns the outputs, and the inner features, of a teacher."""

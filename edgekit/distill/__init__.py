"""Distillation: a student learns the answers, and the inner features, of a teacher."""

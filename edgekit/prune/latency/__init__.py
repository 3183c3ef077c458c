"""Pruning for measured latency: a table of what widths cost on the target, and the widths that keep most below a budget."""

"""Pruning for measured latency: what widths cost on the target, and the best widths within a time budget."""

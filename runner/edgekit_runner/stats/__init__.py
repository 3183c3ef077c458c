"""From samples and counters to figures, and how far they may be believed."""

"""The work of a file as its runtime's own graph shows it; one module per runtime."""

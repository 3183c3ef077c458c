"""The work of a file as its runtime's own graph has it, one runtime a file."""

"""The user's model becomes one exported program, and its own answers become the reference."""

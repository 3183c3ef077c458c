"""The command line: verbs, options, and records as text for a person."""

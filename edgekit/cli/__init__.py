"""The command line: verbs, options, output and progress. Thin: every answer comes from the packages below."""

"""Kinds of runs, one a file; a file whose name begins with an underscore helps them."""

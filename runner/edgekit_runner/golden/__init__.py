"""Golden input and output: the file, and the proof before timing that the artifact computes what it should."""

"""Reads and executes Core ML ML Programs (.mlpackage) on any system: a proof without a Mac."""

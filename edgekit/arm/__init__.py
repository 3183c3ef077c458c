"""Artifacts on emulated ARM CPUs: the real aarch64 packages under qemu-user, so that files meant for phones and boards run here.

It proves that a file loads, answers as it does on this machine, and how many instructions an inference takes. It says nothing
about time, memory bandwidth, heat or energy: none of that is emulated.
"""

"""Binary layers, experimental: activations and weights of one bit, how they train, where they run, how they are
stored.
"""

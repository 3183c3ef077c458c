"""Binary layers, experimental: activations and weights of one bit, how they train, run and are stored."""

"""What the machine shows of itself: instruction set, limits, memory, sensors."""

"""What is tried for a target, in which order, and what ships: plan, attempts, gate, selection."""

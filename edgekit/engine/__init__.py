"""How a stage runs: a function of one JSON spec in a process of its own, its folder named by the content that went in."""

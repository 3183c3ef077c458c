"""Structured pruning: which channels a network can do without, and the network without them.

graph       the groups of channels that can only go together, by the name of their first layer
criteria    what each channel is worth, one criterion a file
widths      how many each group keeps, for a share of multiply-accumulates (macs)
cut         takes them out, exactly to given widths, and checks what is left
stream      the layers that stay whole where the first attempt fails
shrink      all of this, once or in steps
depth       whole blocks go instead
saved       what came of it as JSON; weights: a program's numbers in a module

A planner of its own needs `graph.Graph` (what there is), a criterion's `score`, and `cut.cut` (widths by root).
"""

"""Structured pruning: which channels a network can do without, and the network without them.

graph               groups of channels that can only be removed together, named after their first layer
criteria            how much each channel is worth, one criterion a file
widths              how many channels each group keeps, for a share of the multiply-accumulates (MACs)
cut                 removes channels, exactly to given widths, and checks the result
residual_stream     layers that stay whole if the first attempt fails
shrink              all of the above, once or in several steps
depth               drops whole blocks instead
latency             widths chosen by measured time
saved               a pruned module as JSON
weights             the tensors of a program in a module

A planner of your own needs `graph.Graph` (what there is to remove), the `score` of a criterion, and `cut.cut`
(widths by root).
"""

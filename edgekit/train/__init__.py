"""The one training loop: quantization-aware training, pruning and distillation all fine-tune with it.

`fit` in `loop.py` is the whole interface. It runs the same way on a laptop's CPU, one GPU, several processes
(DDP), with sharded weights (FSDP2) and with DeepSpeed ZeRO; which of them is a matter of an option and a
launcher, not of other code.
"""

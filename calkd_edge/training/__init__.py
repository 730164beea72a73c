"""The training loop: forward and backward pass, optimizer step, checkpoint, resume.

In scope: optimising a module over batches, in one process or several; the only imports of Lightning Fabric.
Out of scope: names, recipes, the formulas of losses.
"""

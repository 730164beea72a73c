"""The epochs: forward, backward, step, checkpoint, resume; the one door to Lightning Fabric.

In scope: optimising a module over batches, on one process or several. Out of scope: names, recipes, losses'
formulae.
"""

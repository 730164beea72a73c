"""Measure and repair the confidence of what people already have: any ONNX classifier, or saved predictions.

In scope: reading predictions and inputs of any make, fitting on them, folding, proving, one record of what
came of it. Out of scope: recipes, stages, the store, the terminal.
"""

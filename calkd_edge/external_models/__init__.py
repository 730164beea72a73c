"""Classifiers that were made elsewhere: evaluate an ONNX file, measure or repair its confidence.

In scope: reading inputs and saved predictions, fitting on them, folding, proving, one record of the result.
Out of scope: recipes, stages, the store, the terminal.
"""

"""Stages and their store: a stage is a function from folders to one folder, named by the hash of its inputs.

In scope: hashing, locking, publishing by rename, resuming, starting processes. Out of scope: the content of a
folder; the engine knows no model, no ONNX, no board.
"""

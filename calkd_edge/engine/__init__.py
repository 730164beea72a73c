"""The memo of folders: a stage is a function from folders to one folder, named by the hash of all that made
it.

In scope: hashing, locking, publishing by rename, resuming, starting processes. Out of scope: what is in a
folder;
this room knows no model, no ONNX, no board.
"""

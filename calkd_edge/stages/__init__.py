"""One function a file: read folders, call the package that does the work, write a folder.

In scope: turning params and folders into arguments. Out of scope: other stages, the store,
printing.
"""

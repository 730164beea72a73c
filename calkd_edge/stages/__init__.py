"""One function a file: read folders, call a workshop, write a folder.

In scope: turning params and folders into a workshop's arguments. Out of scope: other stages, the store,
printing.
"""

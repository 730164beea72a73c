"""ONNX files of any maker: read without trusting them, looked into, changed, checked.

In scope: graphs, their ends, folding a map into the last layer, value sizes, lint rules. Out of scope: torch,
running a file.
"""

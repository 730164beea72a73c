"""ONNX files from any exporter: reading them safely, analysing, changing and checking their graphs.

In scope: graphs, the logits and scores of a classifier, folding a map into the last layer, value sizes, lint
rules. Out of scope: torch, running a file.
"""

"""Files side by side on one device: how fast, at what price, and against an earlier benchmark.

In scope: which files run on what images, in which order, and what the samples say. Out of scope: timing (the
agent does), training, scoring, the terminal.
"""

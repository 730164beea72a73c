"""What runs on the board: the standard library, numpy and one runtime, on Python 3.8 or later.

In scope: looking at the machine, running a model file over images, timing it. Out of scope: labels, scores,
calibration, torch, onnx, and the rest of this package; it is shipped as one small zip.
"""

PROTOCOL = 1
"""Version of the jobs and replies that cross between host and board."""

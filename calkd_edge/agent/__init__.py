"""The program on the board: the standard library, numpy and one runtime, on Python 3.8 or later.

In scope: facts about the machine, running a model file over images, timing it. Out of scope: labels, scores,
calibration, torch, onnx, and the rest of this package. It travels as one small zip.
"""

import os

PROTOCOL = 1
"""Version of the jobs and replies between host and board."""

WATCH_INPUT = "CALKD_EDGE_WATCH_INPUT"
"""A variable that is set where the end of standard input ends the agent."""

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""From 1.32 on, ONNX Runtime otherwise leaves an identifier in the home folder, and sends its counts from the
process that is timed (microsoft/onnxruntime#27379). It reads the variable once, when it is loaded."""

"""Where exported models run: a place that holds files and runs the agent.

In scope: putting, running, fetching, and checking what comes back. Out of scope: scoring, models, ONNX; this
room
runs nothing but the agent.
"""

from calkd_edge.registry import Registry

DEVICES = Registry("device", {"local": "calkd_edge.devices.local:Local"})

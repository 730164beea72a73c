"""Where exported models run: devices hold files and run the agent.

In scope: putting files there, running the agent, fetching and checking its replies, interpreting facts about
the machine. Out of scope: scoring, models, ONNX; this room runs nothing but the agent.
"""

from calkd_edge.registry import Registry

DEVICES = Registry(
    "device kind",
    {"local": "calkd_edge.devices.local:Local", "ssh": "calkd_edge.devices.ssh:Ssh"},
    plural="devices",
)
"""Kind -> its class, a `devices.base.Device`: Device(name, *, ...), with the keys of an inventory entry."""

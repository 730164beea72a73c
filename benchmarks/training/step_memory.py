"""Memory of a training step: computed from the shapes of a network's layers, against what a process took.

Each network is measured in a process of its own. Writes its result beside itself.

    python benchmarks/training/step_memory.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from calkd_edge.models import MODELS
from calkd_edge.models.image_model import ImageModel
from calkd_edge.training.step_memory import training_bytes
from calkd_edge.training.step_time import seconds_per_step

CASES: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("torchvision", {"architecture": "resnet18"}, 224, 32),
    ("torchvision", {"architecture": "resnet50"}, 160, 16),
    ("mobilenet_v3_small", {}, 224, 64),
    ("mobilenet_v2", {}, 128, 64),
    ("shufflenet_v2", {}, 224, 64),
    ("resnet8", {}, 32, 512),
    ("vgg8", {}, 32, 256),
)
"""Name, settings, image size, images of a step."""


def measure(name: str, settings: dict[str, Any], size: int, images: int) -> dict[str, Any]:
    """Computed and taken bytes of one network, in this process."""

    def model() -> ImageModel:
        backbone = MODELS.load(name)(10, (3, size, size), **settings)
        return ImageModel(backbone, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

    with torch.device("meta"):
        computed = training_bytes(model(), (3, size, size), images)
    network = model()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Without patience for whole steps the time of a few images would be scaled, and so little be used.
    seconds_per_step(network, (3, size, size), images, torch.device("cpu"), patience_s=float("inf"))
    taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    label = settings.get("architecture", name)
    return {"network": label, "image_size": size, "images": images, "computed_mb": round(computed / 1e6),
            "taken_mb": round(taken / 1e6), "ratio": round(taken / computed, 2)}  # fmt: skip


def main() -> None:
    """Measure every network; print and write the results."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(*CASES[int(sys.argv[1])])))
        return
    line = [sys.executable, __file__]
    results = [
        json.loads(subprocess.run([*line, str(number)], capture_output=True, check=True, text=True).stdout)
        for number in range(len(CASES))
    ]
    text = json.dumps(results, indent=1) + "\n"
    Path(__file__).with_suffix(".json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

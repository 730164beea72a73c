"""Device facts and releases of libraries that do not depend on this machine, for golden fingerprints."""

from __future__ import annotations

import pytest
from benchmark_world import FACTS as BOARD

from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.source import balanced
from calkd_edge.pipeline import assumptions, plan_other_images, plan_training
from calkd_edge.pipeline import preparation as pipeline

FACTS = BOARD.model_copy(update={"runtimes": {**BOARD.runtimes, "litert": "2.0.0"}})


def fix_world(patch: pytest.MonkeyPatch) -> None:
    """Packages of release 1.0, devices with FACTS, folders of two classes, published weights at hand."""
    for module in (plan_other_images, plan_training):
        patch.setattr(module, "version", lambda package: f"{package} 1.0")
    patch.setattr(
        pipeline.run_devices,
        "probe",
        lambda recipe, locations, skipped=(): {device.name: FACTS for device in recipe.devices},
    )
    patch.setattr(assumptions.pretrained, "check_available", lambda name, settings, where: None)
    patch.setattr(ImageFolder, "identity", lambda self: "a folder")
    patch.setattr(ImageFolder, "outline", lambda self: balanced(("cat", "dog"), 3_000, 1_000))
    patch.setattr(ImageFolder, "size", lambda self: (8_000, (3, self.image_size, self.image_size)))

"""Importing a room loads none of the packages that only a named model or a started training needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW_PACKAGES = ("torchvision.models", "timm", "torch._dynamo", "lightning_fabric")


@pytest.mark.parametrize(
    "module",
    [
        "calkd_edge.models",
        "calkd_edge.models.pretrained",
        "calkd_edge.models.timm_",
        "calkd_edge.training.loop",
        "calkd_edge.losses.kd",
    ],
)
def test_an_import_loads_no_slow_package(module):
    code = f"import sys, {module}; print(*[name for name in {SLOW_PACKAGES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_weights_of_our_architectures_are_unknown_without_torchvision():
    code = (
        "import sys\n"
        "from calkd_edge.errors import RecipeError\n"
        "from calkd_edge.models.pretrained import published\n"
        "try:\n"
        "    published('resnet20', {'width': 1.0}, 'student')\n"
        "except RecipeError:\n"
        "    print('torchvision' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]

"""Every registered data set and augmentation follows the rules of the registry."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch

from calkd_edge.data import AUGMENTATIONS, DATASETS
from calkd_edge.errors import RecipeError

ENTRIES = [(registry, name) for registry in (DATASETS, AUGMENTATIONS) for name in registry]


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[name for _, name in ENTRIES])
def test_every_entry_is_described_and_has_defaults_for_all_settings(registry, name):
    target = registry.load(name)
    assert registry.describe(name)["summary"].endswith(".")
    assert registry.settings(name, {}, where="recipe") is not None
    keywords = [p for p in inspect.signature(target).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert all(p.annotation is not p.empty and p.default is not p.empty for p in keywords)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_every_augmentation_draws_its_columns_and_keeps_shape_and_type(name):
    augmentation = AUGMENTATIONS.load(name)((3, 24, 20))
    view = augmentation.draw(5, np.random.default_rng(0))
    assert tuple(view) == augmentation.columns
    assert all(len(column) == 5 for column in view.values())
    images = torch.randint(0, 256, (5, 3, 24, 20), dtype=torch.uint8)
    seen = augmentation.replay(images, view)
    assert seen.shape == images.shape
    assert seen.dtype == torch.uint8
    assert isinstance(augmentation.version, int)


def test_a_setting_out_of_bounds_is_named():
    with pytest.raises(RecipeError, match=r"data\.image_size.*got 8"):
        DATASETS.settings("image_folder", {"image_size": 8}, where="r.yaml: data")


def test_listing_data_sets_loads_neither_torch_nor_pillow():
    code = "import sys, calkd_edge.data as d; list(d.DATASETS); print({'torch', 'PIL'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"

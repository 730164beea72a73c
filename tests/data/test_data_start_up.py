"""Reading images needs no training framework."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from PIL import Image

CODE = """
import sys
from pathlib import Path
from calkd_edge.data import cifar, corruptions, fashion_mnist, synthetic
from calkd_edge.data.image_folder import ImageFolder
from calkd_edge.data.prepare import prepare
from calkd_edge.data.prepared import Prepared

ignore = lambda done, total: None
out = Path("prepared")
out.mkdir()
source = ImageFolder(Path("images"), image_size=16).open(Path("."), ignore)
prepare(source, out, seed=0, calibration_images=2, train_images=None, test_images=None,
        drop_duplicates=False, broken="refuse", progress=ignore)
images, labels, rows = Prepared.open(out).arrays("train")
print(len(images), "torch" in sys.modules)
"""


def test_image_folders_and_prepared_folders_are_read_without_torch(tmp_path):
    for part in ("train", "test"):
        for label in ("ant", "bee"):
            folder = tmp_path / "images" / part / label
            folder.mkdir(parents=True)
            for index in range(4):
                pixels = np.random.default_rng([len(part), len(label), ord(label[0]), index]).integers(
                    0, 256, (16, 16, 3), np.uint8
                )
                Image.fromarray(pixels).save(folder / f"{index}.png")
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["6", "False"], done.stderr

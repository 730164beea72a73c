"""The golden files of this version, which tests/golden/test_earlier_versions.py opens in every later one.

    PYTHONPATH=tests/support python tests/golden/make.py

Run once, at a release: until then the folder may be removed and made again. Writes tests/golden/VERSION/:
recipes.json, every packaged recipe with all its defaults, and release.tar.xz, a run of RECIPE with its
store, and a benchmark of it. Devices and libraries have fixed names (tests/support/fixed_world.py), so that
another machine finds the published folders again.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from fixed_world import fix_world
from tiny_run import RECIPE as TINY
from tiny_run import command, written

from calkd_edge import __version__
from calkd_edge.recipe.schema import load_recipe
from calkd_edge.recipe.source import packaged

RECIPE = {
    **TINY,
    "data": {
        "name": "synthetic",
        "classes": 3,
        "images_per_class": 30,
        "test_images_per_class": 40,
        "image_size": 8,
        "noise": 0.05,
        "calibration_images": 30,
    },
    "teacher": {"name": "resnet8", "width": 0.125},
    "teacher_training": {**TINY["teacher_training"], "epochs": 12},
    "student": {"name": "resnet8", "width": 0.125},
    "distill": {**TINY["distill"], "epochs": 40},
    "evaluate": {"corruptions": ["noise"], "corrupted_images": 10},
    "gates": [{"metric": "size_bytes", "max": 4_000_000}, {"metric": "top1", "min": 0.4}],
}
"""The tiny recipe with fewer and smaller images and models: a store of few kilobytes."""


def main() -> None:
    """Write the folder of this version; an existing one is left alone."""
    target = Path(__file__).with_name(__version__)
    target.mkdir()
    recipes = {name: load_recipe(name).model_dump(mode="json") for name in sorted(packaged())}
    (target / "recipes.json").write_text(json.dumps(recipes, indent=1) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        recipe = written(Path(), RECIPE)
        with pytest.MonkeyPatch.context() as fixed:
            fix_world(fixed)
            ended(command("compress", "--recipe", recipe, "--store", "store", "--out", "run"))
        ended(command("benchmark", "run/bundle.zip", "--precision", "int8", "--out", "benchmark"))
        pack(Path(), target / "release.tar.xz")


def ended(done: object) -> None:
    """Stop where a command did not pass."""
    if getattr(done, "code", 1) != 0:
        raise SystemExit(f"a command of the golden run failed: {done}")


def pack(folder: Path, archive: Path) -> None:
    """Every file of a folder, with no owner and no time; locks and the log stay out."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and path.parent.name not in ("locks", "work") and path.name != "log.txt":
                content = path.read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    main()

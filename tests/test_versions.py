"""The lock of CI, the oldest libraries and the Pythons: what the project says of them agrees."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

if sys.version_info < (3, 11):
    pytest.skip("Python 3.10 has no reader of TOML", allow_module_level=True)
import tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TRIED_EXTRAS = ("parquet", "timm", "openvino", "litert")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
CI_PYTHON = "3.11"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return {normal(name): release for name, release in PIN.findall(text)}


def bounds(*groups: list[str]) -> dict[str, str]:
    """Package -> the release after `>=`, empty where there is none; the extras of this package stay out."""
    found = {}
    for line in (line for group in groups for line in group if not line.startswith("calkd-edge[")):
        name, _, release = line.partition(";")[0].partition(">=")
        found[normal(name.strip())] = release.strip()
    return found


def test_the_lock_has_every_pin_of_the_constraints_and_every_dependency():
    lock = pins("requirements-ci.txt")
    assert pins("constraints.txt").items() <= lock.items(), "make lock"
    used = bounds(PROJECT["dependencies"], *(EXTRAS[name] for name in (*TRIED_EXTRAS, "dev", "trt-check")))
    assert not used.keys() - lock.keys(), "make lock"
    assert {"hatchling", "editables"} <= lock.keys(), "they build the package"


def test_the_lock_is_only_pins_with_hashes():
    text = (ROOT / "requirements-ci.txt").read_text(encoding="utf-8")
    pin = r"\S+==\S+( ; [^\\\n]+)? \\\n(    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n"
    assert re.fullmatch(f"({pin})+", text), "it names no registry and no file"


def test_the_oldest_libraries_are_the_lower_bounds():
    assert pins("constraints-oldest.txt") == bounds(
        PROJECT["dependencies"], *(EXTRAS[name] for name in TRIED_EXTRAS)
    )


def test_the_page_is_that_of_the_results_and_the_package_claims_no_other_python(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "versions"))
    import versions

    results = json.loads(versions.RESULTS.read_text(encoding="utf-8"))
    assert versions.PAGE.read_text(encoding="utf-8") == versions.page(results)
    assert all("note" in one for one in results if one["failed"]), "say in a note what failed"
    tried = {".".join(one["python"].split(".")[:2]) for one in results} | {CI_PYTHON}
    said = "Programming Language :: Python :: 3."
    claimed = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if line.startswith(said)}
    assert claimed == tried
    youngest = max(tried, key=lambda python: int(python.partition(".")[2]))
    assert f"Python 3.10 to {youngest} " in (ROOT / "README.md").read_text(encoding="utf-8")

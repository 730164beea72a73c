"""Which Pythons and which releases of the libraries run this package: tries one pair, and writes the page.

    python benchmarks/versions/versions.py PYTHON [--oldest] [--rooms NAME ...] [--venv FOLDER]
    python benchmarks/versions/versions.py --page

PYTHON is an interpreter. Its virtual environment gets the package with the extra [dev]: the newest releases
that the registry has for it, or with --oldest the lower bounds of pyproject.toml (constraints-oldest.txt).
Then the tests of ROOMS run, a whole compression among them, and a dry run of the quickstart. The result
replaces the one of the same Python and libraries in results.json beside this file, and docs/versions.md is
written anew. The environment takes 6 GB; it is removed at the end, unless --venv names a folder for it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import xml.etree.ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "versions.md"
ROOMS = ("calibration", "cli", "engine", "export", "golden", "metrics", "onnx_model", "recipe", "registry")
"""Folders of tests/ that are run unless --rooms names others; `cli` has a whole compression."""
QUICK = "not slow and not gpu and not jetson and not documentation and not serial"
SHOWN = ("torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy", "pillow", "pydantic")
"""Libraries with a column on the page; results.json has all."""
HEAD = """# Versions

What calkd-edge was run with. Each line is one virtual environment of its own: the tests of some rooms, a
whole compression among them, and a dry run of the quickstart. CI runs every test on Python 3.11 with
[constraints.txt](../constraints.txt). *oldest* are the lower bounds of `pyproject.toml`
([constraints-oldest.txt](../constraints-oldest.txt)); *newest* is what the registry had on that day.

| Python | libraries | {shown} | rooms | passed | skipped | failed |
|---|---|{rule}---:|---:|---:|---:|
"""
TAIL = """
`make test-versions VERSIONS="PYTHON [--oldest]"` tries a pair and writes this page from
`benchmarks/versions/results.json`, which has the rooms and the release of every package.
"""


def main() -> None:
    """Try what the command line names, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("python", nargs="?", help="an interpreter")
    parser.add_argument("--oldest", action="store_true", help="the lower bounds of pyproject.toml")
    parser.add_argument("--rooms", nargs="+", default=ROOMS, help="folders of tests/")
    parser.add_argument("--venv", type=Path, help="a folder for the environment, kept")
    parser.add_argument("--page", action="store_true", help="only write docs/versions.md")
    asked = parser.parse_args()
    if not asked.page:
        if asked.python is None:
            parser.error("name an interpreter, or --page")
        with tempfile.TemporaryDirectory() as folder:
            keep(tried(asked.python, asked.oldest, asked.rooms, asked.venv or Path(folder)))
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")


def tried(python: str, oldest: bool, rooms: Sequence[str], venv: Path) -> dict[str, Any]:
    """Install, run the tests and the dry run: the result as it stands in results.json."""
    inside = venv / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*arguments: str, check: bool = True) -> str:
        line = [str(inside), *arguments]
        done = subprocess.run(line, cwd=ROOT, env=environment, check=check, text=True, stdout=subprocess.PIPE)
        return done.stdout

    revision = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(revision, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    if not inside.exists():
        subprocess.run([python, "-m", "venv", str(venv)], check=True)
    bounds = ["-c", "constraints-oldest.txt"] if oldest else ["--upgrade"]
    run("-m", "pip", "install", "--quiet", *bounds, "-e", ".[dev]")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "tests.xml")
        folders = [str(ROOT / "tests" / room) for room in rooms]
        marked = ["-q", "-m", QUICK, f"--junitxml={log}"]
        if oldest:  # newer releases of what they need say what they will drop
            marked += ["-o", "filterwarnings=default"]
        print(run("-m", "pytest", *marked, *folders, check=False))
        (suite,) = xml.etree.ElementTree.parse(log).getroot().iter("testsuite")
        run("-m", "calkd_edge", "compress", "quickstart", "--dry-run", "--store", folder)
    count = {name: int(suite.attrib[name]) for name in ("tests", "skipped", "failures", "errors")}
    failed = count["failures"] + count["errors"]
    listed = json.loads(run("-m", "pip", "list", "--format=json", "--exclude-editable"))
    return {
        "python": run("-c", "import platform; print(platform.python_version())").strip(),
        "libraries": "oldest" if oldest else "newest",
        "rooms": list(rooms),
        "passed": count["tests"] - count["skipped"] - failed,
        "skipped": count["skipped"],
        "failed": failed,
        "commit": commit,
        "packages": {one["name"].lower(): one["version"] for one in listed},
    }


def order(result: dict[str, Any]) -> tuple[int, str]:
    """Which Python, with which libraries: what a later result replaces, and where it stands."""
    return int(result["python"].split(".")[1]), result["libraries"]


def keep(result: dict[str, Any]) -> None:
    """Put a result into results.json in place of the earlier one of its kind."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    results = [one for one in stored if order(one) != order(result)]
    text = json.dumps(sorted([*results, result], key=order), indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def page(results: list[dict[str, Any]]) -> str:
    """docs/versions.md for these results."""
    rows = [
        [one["python"], one["libraries"], *(one["packages"][name] for name in SHOWN)]
        + [str(len(one["rooms"])), *(f"{one[name]:,}" for name in ("passed", "skipped", "failed"))]
        for one in results
    ]
    head = HEAD.format(shown=" | ".join(SHOWN), rule="---|" * len(SHOWN))
    notes = [
        f"\nPython {one['python']}, {one['libraries']}: {one['note']}\n" for one in results if "note" in one
    ]
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows) + "".join(notes) + TAIL


if __name__ == "__main__":
    main()

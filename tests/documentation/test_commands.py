"""Every command in README and docs is run, with the substitutions printed here and no others."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import loopback_board
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(<!-- not run: [^>]+-->\n)?```sh\n(.*?)```", re.S)
FULL_PROTOCOL = re.compile(r"--recipe (mobilenet|shufflenet)_cifar100\.yaml")
RUN_BY_CI = {"make quickstart", "make test"}
BY_ADDRESS = re.compile(r"user@10\.0\.0\.5(:\d+)?")
"""The board of the examples; like `jetson`, the emulated one takes its place."""


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for reason, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            if not reason:
                found += [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
    return found


def test_few_blocks_are_excused() -> None:
    excused = [m for page in PAGES for m in BLOCK.findall(page.read_text(encoding="utf-8")) if m[0]]
    assert len(excused) <= 5


def test_ci_runs_the_make_targets_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert set(script) >= RUN_BY_CI


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of one's own, and the quickstart's run where that has been made."""
    folder = tmp_path_factory.mktemp("workshop")
    generator = np.random.default_rng(5)
    for name, centre in (("dark", 70), ("bright", 180), ("middle", 125)):
        place = folder / "my_images" / name
        place.mkdir(parents=True)
        for number in range(520):
            pixels = np.clip(generator.normal(centre, 40, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")
    (folder / "runs").mkdir()
    if (ROOT / "runs" / "quickstart").is_dir():
        (folder / "runs" / "quickstart").symlink_to(ROOT / "runs" / "quickstart")
    return folder


@pytest.fixture(scope="module")
def jetson(arm64: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables with which `jetson` is an emulated arm64 board behind sshd, which has no TensorRT."""
    if loopback_board.missing():
        pytest.skip(loopback_board.missing())
    folder = tmp_path_factory.mktemp("jetson")
    board = loopback_board.start(folder, python=arm64, machine="aarch64")
    config = folder / "config" / "calkd-edge"
    config.mkdir(parents=True)
    (config / "devices.yaml").write_text(
        f"jetson: {{host: {board.host}, python: python3, runtime: onnxruntime}}\n", encoding="utf-8"
    )
    path = f"{board.client}:{os.environ['PATH']}"
    yield {**os.environ, "PATH": path, "XDG_CONFIG_HOME": str(folder / "config")}
    board.stop()


@pytest.mark.documentation
@pytest.mark.parametrize("command", [c for c in commands() if c not in RUN_BY_CI])
def test_command_works_as_written(command: str, workshop: Path, request: pytest.FixtureRequest) -> None:
    run, variables = BY_ADDRESS.sub("jetson", command), dict(os.environ)
    if FULL_PROTOCOL.search(run):
        if "CALKD_CIFAR100" not in os.environ:
            pytest.skip("CALKD_CIFAR100 names no folder with CIFAR-100")
        run += f" --smoke --set data.root={shlex.quote(os.environ['CALKD_CIFAR100'])}"
    needs_run = "runs/quickstart" in run or run.startswith("calkd-edge benchmark --device")
    if needs_run and not (workshop / "runs" / "quickstart").exists():
        pytest.skip("make quickstart has not been run in this checkout")
    if "--device jetson" in run:
        variables = request.getfixturevalue("jetson")
        print("substituted: jetson is an emulated board")
    if run != command:
        print(f"substituted: {command} -> {run}")
    words = shlex.split(run)
    assert words[0] == "calkd-edge"
    done = subprocess.run(
        [sys.executable, "-m", "calkd_edge", *words[1:]],
        cwd=workshop,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

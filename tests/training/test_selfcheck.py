"""The self-check for GPUs, reduced, on the CPU: every section runs, and says what it cannot compare here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "selfcheck.py"


def selfcheck(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.serial
def test_every_section_of_the_selfcheck_runs_on_a_cpu(tmp_path):
    done = selfcheck("--output", tmp_path / "result.json")
    sections = {
        line["section"]: line for line in json.loads((tmp_path / "result.json").read_text())["sections"]
    }
    failed = {name: line for name, line in sections.items() if line["passed"] is False}
    assert not failed
    assert done.returncode == 0
    assert list(sections) == [
        *(f"A{number}" for number in range(8)),
        *(f"B{number}" for number in range(1, 5)),
    ]
    assert sections["A2"]["left_out"] == []
    assert all(kind["killed"] and kind["resumed"] for kind in sections["A4"]["kinds"].values())
    assert {"ours, stored", "ours, live", "plain"} <= {
        name.split(" ", 2)[2] for name in sections["B1"]["table"]
    }


def test_selfcheck_fails_where_a_section_does(tmp_path):
    """A GPU that is not there: the section's own process ends with an error, and the others would go on."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    command = [sys.executable, str(SCRIPT), "--device", "cuda", "--only", "A1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "A1  FAILED" in done.stdout

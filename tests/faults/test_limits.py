"""Errors of writing that a full disk shares: a full standard output, a limit on the size of files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tiny_run import RECIPE, written


def calkd(line: str) -> subprocess.CompletedProcess:
    prefix = f"{sys.executable} -m calkd_edge"
    here = Path(__file__).parents[2]
    return subprocess.run(
        line.format(prefix), shell=True, capture_output=True, text=True, check=False, cwd=here
    )


def test_full_standard_output_is_no_full_disk():
    for line in ("list losses", "schema report"):
        done = calkd(f"{{}} {line} >/dev/full")
        assert (done.returncode, "error: standard output cannot be written" in done.stderr) == (6, True), done


def test_limit_on_the_size_of_files_is_no_full_disk(tmp_path):
    recipe = written(tmp_path, RECIPE)
    done = calkd(f"ulimit -f 60; {{}} compress {recipe} --store {tmp_path / 's'} --out {tmp_path / 'out'}")
    assert done.returncode == 6
    assert "would exceed the largest size that is allowed" in done.stderr
    assert "ulimit -f unlimited" in done.stderr

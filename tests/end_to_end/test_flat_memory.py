"""Memory stays flat as data grows: 20,000 images of 224x224 take 3 GB of pixels, and no more of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[1] / "support" / "memory_driver.py"
IMAGES, LIMIT_MIB = 20_000, 3 * 1024


@pytest.mark.serial
@pytest.mark.slow
def test_anonymous_memory_stays_under_three_gibibytes(tmp_path):
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(IMAGES), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=2400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    assert told["train_images"] == IMAGES - 2000
    assert set(told["peak_mib"]) == {"prepare", "soft_labels", "distill"}
    assert max(told["peak_mib"].values()) < LIMIT_MIB, told

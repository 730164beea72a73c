"""What tests of a board over sshd share: a device on it, and a file that is worth a place in its cache."""

from __future__ import annotations

import numpy as np
import pytest

from calkd_edge.devices.ssh import Ssh


@pytest.fixture
def ssh_device(board):
    opened = Ssh("jetson", host=board.host)
    yield opened
    opened.close()


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8))
    return path

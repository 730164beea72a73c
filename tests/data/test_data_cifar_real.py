"""The complete real CIFAR-100; CALKD_CIFAR100 names the folder of its parquet files."""

import os
from pathlib import Path

import numpy as np
import pytest

from calkd_edge.data.cifar import Cifar100
from calkd_edge.data.prepare import prepare
from calkd_edge.data.prepared import Prepared

pytestmark = pytest.mark.skipif("CALKD_CIFAR100" not in os.environ, reason="CALKD_CIFAR100 names no folder")


def ignore(done, total):
    pass


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return Cifar100(Path(os.environ["CALKD_CIFAR100"])).open(tmp_path_factory.mktemp("scratch"), ignore)


def prepared(source, out, **sizes):
    requested = {"calibration_images": 5000, "train_images": None, "test_images": None, **sizes}
    prepare(source, out, seed=17, drop_duplicates=False, broken="refuse", progress=ignore, **requested)
    return Prepared.open(out)


def test_a_smoke_run_decodes_only_what_it_uses(source, tmp_path):
    data = prepared(source, tmp_path, calibration_images=200, train_images=512, test_images=256)
    assert len(data.images) == 968
    assert data.classes[data.labels[0]] in source.classes


@pytest.mark.slow
def test_the_complete_data_has_the_known_mean_and_duplicates(source, tmp_path):
    data = prepared(source, tmp_path)
    assert [len(data.indices(name)) for name in ("train", "calibration", "test")] == [45_000, 5_000, 10_000]
    assert np.bincount(data.labels[data.indices("calibration")]).tolist() == [50] * 100
    assert data.splits["duplicates"]["test_in_train_count"] >= 10
    mean, std = data.mean_std(np.sort(np.concatenate([data.indices("train"), data.indices("calibration")])))
    assert mean == pytest.approx([0.5071, 0.4865, 0.4409], abs=1e-4)
    assert std == pytest.approx([0.2673, 0.2564, 0.2762], abs=1e-4)

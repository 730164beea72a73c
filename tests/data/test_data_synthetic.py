"""The synthetic images can be learned, and are the same on every machine."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from calkd_edge.data.synthetic import Synthetic


def ignore(done, total):
    pass


def arrays(source, test):
    rows = np.flatnonzero(source.official_test == test)
    return np.stack([source.decode(int(row)) for row in rows]), source.labels[rows]


def test_a_simple_classifier_learns_them_but_not_perfectly_under_noise(tmp_path):
    source = Synthetic(None, images_per_class=40, test_images_per_class=20).open(tmp_path, ignore)
    (images, labels), (test_images, test_labels) = arrays(source, False), arrays(source, True)

    def spectra(values):
        return np.abs(np.fft.fft2(values)).reshape(len(values), -1)

    model = KNeighborsClassifier(3).fit(spectra(images), labels)
    assert 0.6 < model.score(spectra(test_images), test_labels) <= 1.0


def test_counts_shape_and_names(tmp_path):
    dataset = Synthetic(None, classes=3, images_per_class=5, test_images_per_class=2, image_size=20)
    source = dataset.open(tmp_path, ignore)
    assert dataset.size() == (21, (3, 20, 20))
    assert source.decode(0).shape == (3, 20, 20)
    assert np.bincount(source.labels).tolist() == [7, 7, 7]
    assert source.name_of(15) == "test/0"
    assert source.classes == ("grating_00", "grating_01", "grating_02")


def test_images_depend_on_the_settings_alone(tmp_path):
    item, two = (Synthetic(None).open(tmp_path, ignore) for _ in range(2))
    assert (item.decode(33) == two.decode(33)).all()
    assert (item.decode(33) != item.decode(34)).any()


@pytest.mark.parametrize("other", [{"classes": 5}, {"noise": 0.1}, {"seed": 1}, {"image_size": 48}])
def test_the_identity_depends_on_the_settings(other):
    assert Synthetic(None).identity() == Synthetic(None).identity()
    assert Synthetic(None).identity() != Synthetic(None, **other).identity()

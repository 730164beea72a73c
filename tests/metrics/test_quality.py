"""Quality figures by hand, by property and against scikit-learn."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from calkd_edge import metrics
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.classwise import RESAMPLES, class_errors
from calkd_edge.metrics.intervals import binned_error


def draw(images: int, classes: int, *, sharp: float = 1.0, seed: int = 0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, classes)) * 2
    p = special.softmax(logits, axis=1)
    labels = (p.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    return logits * sharp, labels


def test_ece_of_four_images_by_hand():
    confidence = np.array([0.95, 1.0, 0.55, 0.55])
    hit = np.array([True, False, True, False])
    expected = (abs(0.95 + 1.0 - 1) + abs(1.1 - 1)) / 4
    assert metrics.expected_calibration_error(confidence, hit, bins=15) == pytest.approx(expected)


def test_bins_are_open_below_closed_above_and_zero_is_in_the_first():
    values = np.array([0.0, 0.25, 0.2500001, 0.5, 0.75, 1.0])
    assert metrics.equal_width_bins(values, 4).tolist() == [0, 0, 1, 1, 2, 3]


def test_a_confidence_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match="not within 0..1"):
        metrics.equal_width_bins(np.array([0.2, 1.2]), 15)


def test_ece_agrees_with_scikit_learns_calibration_curve():
    logits, labels = draw(3000, 5, sharp=2)
    confidence, hit = scores.confidence(logits), scores.top1(logits) == labels
    accuracy, mean = calibration_curve(hit, confidence, n_bins=15, strategy="uniform")
    counts = np.bincount(metrics.equal_width_bins(confidence, 15), minlength=15)
    expected = (np.abs(accuracy - mean) * counts[counts > 0]).sum() / 3000
    assert metrics.expected_calibration_error(confidence, hit) == pytest.approx(expected)


def test_top1_top5_nll_and_brier_agree_with_scikit_learn():
    logits, labels = draw(1500, 12, sharp=1.5)
    p = special.softmax(logits, axis=1)
    result = metrics.quality(logits, labels)
    classes = np.arange(12)
    assert result.top1.value == pytest.approx(sklearn_metrics.accuracy_score(labels, p.argmax(axis=1)))
    assert result.top5.value == pytest.approx(
        sklearn_metrics.top_k_accuracy_score(labels, p, k=5, labels=classes)
    )
    assert result.nll.value == pytest.approx(sklearn_metrics.log_loss(labels, p, labels=classes))
    assert result.brier.value == pytest.approx(((p - np.eye(12)[labels]) ** 2).sum(axis=1).mean())


def test_classwise_error_agrees_with_averaging_ranges_of_equal_mass_by_hand():
    logits, labels = draw(600, 3, sharp=2)
    p = special.softmax(logits, axis=1)
    ranges = []
    for c in range(3):
        order = np.argsort(p[:, c])
        ranges += [abs(p[part, c].mean() - (labels[part] == c).mean()) for part in np.split(order, 15)]
    assert metrics.quality(logits, labels).ace_classwise.value == pytest.approx(np.mean(ranges))


def test_equal_mass_bins_keep_ties_together_whatever_their_order():
    values = np.array([0.1] * 7 + [0.9] * 3)
    assert len({int(b) for b in metrics.equal_mass_bins(values, 5)[:7]}) == 1
    mixed = np.random.default_rng(0).permutation(10)
    assert (metrics.equal_mass_bins(values, 5)[mixed] == metrics.equal_mass_bins(values[mixed], 5)).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0, 1 + 1e-10]), min_size=1), st.integers(1, 60))
def test_bins_are_those_of_a_binary_search(values, bins):
    """Few bins are counted, many are searched."""
    p = np.array(values)
    edges = np.linspace(0, 1, bins + 1)
    expected = np.clip(np.searchsorted(edges, p) - 1, 0, bins - 1)
    assert metrics.equal_width_bins(p, bins).tolist() == expected.tolist()
    cuts = np.linspace(0, len(p), min(bins, len(p)) + 1)[1:-1].round().astype(int)
    expected = np.searchsorted(np.sort(p)[cuts - 1], p)
    assert metrics.equal_mass_bins(p, bins).tolist() == expected.tolist()


def test_classwise_errors_are_to_the_bit_those_of_the_complete_table_of_probabilities(monkeypatch):
    """In blocks of classes and tiles of images, neither of which fits the numbers of them."""
    logits, labels = draw(1300, 37, sharp=2)
    logits[5, :7] = -np.inf
    labels[5] = 9
    monkeypatch.setattr("calkd_edge.metrics.classwise._BLOCK_ELEMENTS", 1300 * 10)
    values = logits.astype(np.float32)
    figures = scores.softmax_figures(values, labels)
    generator = np.random.default_rng(4)
    table = np.exp(scores.log_softmax(values))
    for c, error in enumerate(class_errors(values, labels, figures, bins=15, seed=4)):
        p, is_c = np.ascontiguousarray(table[:, c]), labels == c
        expected = binned_error(
            p,
            is_c,
            metrics.equal_mass_bins(p, 15),
            number=15,
            resamples=RESAMPLES,
            generator=generator,
        )
        assert error.equal_mass[:-1] == expected[:-1]
        assert (error.equal_mass.influence == expected.influence).all()
        assert error.equal_width == metrics.expected_calibration_error(p, is_c)
    assert c == 36


def test_memory_beside_the_logits_does_not_grow_with_the_classes():
    """Less than one float64 copy of them; a complete table of probabilities and its transpose are two."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 500, size=10_000)
    logits = generator.normal(size=(10_000, 500)).astype(np.float32)
    logits[np.arange(10_000), labels] += 3
    tracemalloc.start()
    metrics.quality(logits, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < logits.size * 8


@pytest.mark.parametrize("images", [1000, 5000])
def test_the_noise_floor_is_what_a_calibrated_model_shows(images):
    generator = np.random.default_rng(0)
    confidence = np.sqrt(generator.uniform(0.1, 1, size=images))
    shown = [
        metrics.expected_calibration_error(confidence, generator.random(images) < confidence)
        for _ in range(200)
    ]
    assert metrics.noise_floor(confidence) == pytest.approx(np.mean(shown), rel=0.06)


def test_every_estimate_lies_within_its_bounds_and_its_range():
    result = metrics.quality(*draw(700, 7, sharp=3))
    for name in (
        "top1",
        "top5",
        "nll",
        "brier",
        "ece",
        "ece_over",
        "ece_under",
        "ace_classwise",
        "ace_toplabel",
    ):
        estimate = getattr(result, name)
        assert 0 <= estimate.low <= estimate.value <= estimate.high, name
    assert sum(b.images for b in result.reliability) == result.images == sum(result.confidence_histogram)


def test_top5_is_certain_with_five_classes_or_fewer():
    result = metrics.quality(*draw(50, 5)).top5
    assert (result.value, result.low, result.high) == (1, 1, 1)


def test_temperature_gap_is_what_scaling_mends_and_nothing_for_a_calibrated_model():
    logits, labels = draw(4000, 10)
    sharp = metrics.nll_split(logits * 2, labels).calibration
    improvement = (
        scores.nll_per_image(logits * 2, labels).mean() - scores.nll_per_image(logits, labels).mean()
    )
    assert sharp == pytest.approx(improvement, abs=0.01)
    assert abs(metrics.nll_split(logits, labels).calibration) < 0.002


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.3, 4))
def test_properties_that_hold_for_any_model(seed, classes, sharp):
    logits, labels = draw(120, classes, sharp=sharp, seed=seed)
    result = metrics.quality(logits, labels, bins=10)
    assert result.ece.value == pytest.approx(result.ece_over.value + result.ece_under.value)
    assert abs(result.mean_confidence - result.top1.value) <= result.ece.value + 1e-12
    coarse = metrics.quality(logits, labels, bins=5)
    assert coarse.ece.value <= result.ece.value + 1e-12
    for name, changed in variants(logits, labels, seed):
        same = metrics.quality(*changed, bins=10)
        for field in ("top1", "nll", "brier", "ece", "ece_over", "ece_under"):
            assert getattr(same, field).value == pytest.approx(getattr(result, field).value, abs=1e-9), (
                name,
                field,
            )


def variants(logits, labels, seed):
    """Changes that must not change what a model is worth."""
    generator = np.random.default_rng(seed)
    classes = generator.permutation(logits.shape[1])
    yield "row shift", (logits + generator.normal(size=(len(logits), 1)) * 5, labels)
    yield "class permutation", (logits[:, classes], np.argsort(classes)[labels])
    yield "duplicates", (np.tile(logits, (2, 1)), np.tile(labels, 2))
    order = generator.permutation(len(labels))
    yield "image order", (logits[order], labels[order])


def test_half_precision_and_nan_are_refused_before_anything_is_scored():
    logits, labels = draw(20, 3)
    with pytest.raises(ValueError, match="float16"):
        metrics.quality(logits.astype(np.float16), labels)
    logits[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4"):
        metrics.quality(logits, labels)


def test_masked_classes_leave_finite_figures():
    logits, labels = draw(200, 4)
    padded = np.concatenate([logits, np.full((200, 3), -np.inf)], axis=1)
    result, plain = metrics.quality(padded, labels), metrics.quality(logits, labels)
    assert result.nll.value == pytest.approx(plain.nll.value)
    assert result.ece.value == pytest.approx(plain.ece.value)


def test_a_reliability_bin_without_images_says_so():
    bins = metrics.reliability_bins(np.array([0.99, 0.98]), np.array([True, False]))
    assert bins[0].images == 0
    assert bins[0].accuracy is None
    assert bins[-1].accuracy == 0.5


def test_the_same_seed_gives_the_same_quality():
    logits, labels = draw(300, 5)
    assert metrics.quality(logits, labels, seed=3) == metrics.quality(logits, labels, seed=3)

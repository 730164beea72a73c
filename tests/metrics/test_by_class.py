"""Figures of classes: equal to scikit-learn's, and bounds that hold their level."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from calkd_edge.metrics import balanced_accuracy, confusion_matrix, quality, worst_recall

CLASSES = 7
RNG = np.random.default_rng(3)
LABELS = RNG.choice(CLASSES, 900, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05, 0.0])
LOGITS = RNG.normal(0, 1, (900, CLASSES)).astype(np.float32)
LOGITS[np.arange(900), LABELS] += 1.5
LOGITS[:, 5] -= 20
"""Class 6 has no image, class 5 is never answered."""

ANSWERS = LOGITS.argmax(1)


def test_the_figures_of_every_class_are_those_of_scikit_learn():
    measured = quality(LOGITS, LABELS)
    expected = reference.confusion_matrix(LABELS, ANSWERS, labels=range(CLASSES))
    assert np.array_equal(confusion_matrix(ANSWERS, LABELS, classes=CLASSES), expected)
    known = reference.recall_score(LABELS, ANSWERS, labels=range(6), average=None, zero_division=0)
    assert [one.recall.value for one in measured.by_class[:6]] == pytest.approx(known)
    assert measured.by_class[6].recall is None
    right = reference.precision_score(LABELS, ANSWERS, labels=range(CLASSES), average=None, zero_division=0)
    given = [one.precision for one in measured.by_class]
    assert given[5] is None
    assert [one.value for one in given if one is not None] == pytest.approx(np.delete(right, 5))
    with pytest.warns(UserWarning, match="not in y_true"):
        balanced = reference.balanced_accuracy_score(LABELS, ANSWERS)
    assert measured.balanced_accuracy.value == pytest.approx(balanced)
    assert measured.worst_recall.value == 0.0
    total = sum(one.recall.value * one.images for one in measured.by_class if one.recall) / 900
    assert total == pytest.approx(measured.top1.value)


def test_the_error_of_all_classes_is_the_mean_of_theirs():
    measured = quality(LOGITS, LABELS)
    mean = np.mean([one.calibration_error.value for one in measured.by_class])
    assert mean == pytest.approx(measured.ace_classwise.value)


def test_wrong_answers_are_listed_most_frequent_first():
    measured = quality(LOGITS, LABELS)
    counts = [one.images for one in measured.confused]
    assert counts == sorted(counts, reverse=True)
    wrong = confusion_matrix(ANSWERS, LABELS, classes=CLASSES)
    assert all(wrong[one.label, one.answer] == one.images for one in measured.confused)
    assert sum(counts) == (ANSWERS != LABELS).sum(), "fewer kinds than are kept"


@pytest.mark.parametrize("figure", [balanced_accuracy, worst_recall])
@pytest.mark.parametrize("true", [(0.9, 0.8, 0.95), (0.99, 0.99, 0.99, 0.99, 0.6), (0.5,) * 8])
def test_each_bound_misses_the_truth_in_at_most_one_of_twenty(figure, true):
    draw, images = np.random.default_rng(11), 40
    truth = np.mean(true) if figure is balanced_accuracy else min(true)
    misses = np.zeros(2)
    for _ in range(1000):
        right = draw.binomial(images, true)
        matrix = np.diag(right)
        matrix[np.arange(len(true)), (np.arange(len(true)) + 1) % len(true)] += images - right
        bounds = figure(matrix)
        misses += bounds.low > truth, bounds.high < truth
    assert (misses <= 50 + 2.33 * np.sqrt(1000 * 0.05 * 0.95)).all(), misses


def test_classes_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.1"):
        confusion_matrix([0, 2], [0, 1], classes=2)
    with pytest.raises(ValueError, match="same images"):
        confusion_matrix([0], [0, 1], classes=2)

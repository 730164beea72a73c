"""Readers of metrics that compare two models on the same images: drops, rises, shifts, agreement."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import BoolArray, FloatArray
from calkd_edge.release.gates.evidence import Evidence, same_student_in_fp32, teacher_of
from calkd_edge.release.gates.image_scores import Float32Array, ScorePair, score_pair
from calkd_edge.release.gates.metric import Against, Reader, Reading
from calkd_edge.release.gates.readers import few_images

SEED = 0
"""Of every bootstrap."""

PairReader = Callable[[ScorePair, GateSection], Reading]


def against(reference_kind: Against, read_pair: PairReader, *, fewest: int = 0) -> Reader:
    """A reader that pairs a measurement with fp32 or the teacher, image by image.

    Args:
        reference_kind: what the measurement is compared with.
        read_pair: computes the reading from the common images.
        fewest: below so many images the value is shown and does not decide.
    """

    def read(item: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        m = item.measurement
        if reference_kind == "fp32":
            reference, name = same_student_in_fp32(item, peers), f"{m.model} fp32 on {m.device}"
        else:
            reference, name = teacher_of(item, peers), "the teacher"
        if reference is None or reference.scores is None:
            return Reading(None, why=f"there are no predictions of {name} to compare with")
        if item.scores is None:
            return Reading(None, why="its predictions were not kept")
        pair = score_pair(item.scores, reference.scores)
        if pair is None:
            return Reading(None, why=f"it and {name} have no images with the same labels in common")
        return decided_from(fewest, len(pair.candidate.labels), read_pair(pair, gate))

    return read


def decided_from(fewest: int, images: int, reading: Reading) -> Reading:
    """A reading that decides from `fewest` images on, and is only shown below."""
    if images >= fewest or reading.value is None:
        return reading
    why = few_images(images, fewest)
    return Reading(reading.value, reading.low, reading.high, images, why, decides=False)


def top1_drop(pair: ScorePair, gate: GateSection) -> Reading:
    """Top-1 of the reference minus top-1 of the candidate."""
    return _difference_of_shares(pair.reference.right, pair.candidate.right)


def agreement(pair: ScorePair, gate: GateSection) -> Reading:
    """Share of images with the same predicted class."""
    same = pair.candidate.answers == pair.reference.answers
    bounds = intervals.clopper_pearson(int(same.sum()), len(same))
    return Reading(bounds.value, bounds.low, bounds.high, len(same))


def nll_rise(pair: ScorePair, gate: GateSection) -> Reading:
    """Mean NLL of the candidate minus that of the reference, in nats."""
    return _mean_rise(pair.candidate.nll, pair.reference.nll)


def brier_rise(pair: ScorePair, gate: GateSection) -> Reading:
    """Mean Brier score of the candidate minus that of the reference."""
    return _mean_rise(pair.candidate.brier, pair.reference.brier)


def coverage_shift(pair: ScorePair, gate: GateSection) -> Reading:
    """Share of images that reach the gate's threshold: candidate minus reference."""
    candidate, reference = (scores.reaches(gate.threshold or 0.0) for scores in pair)
    if not (candidate.any() or reference.any()):
        return none_above(gate)
    return _difference_of_shares(candidate, reference)


def precision_shift(pair: ScorePair, gate: GateSection) -> Reading:
    """Top-1 among the images that reach the gate's threshold: candidate minus reference."""
    candidate, reference = (scores.reaches(gate.threshold or 0.0) for scores in pair)
    bounds = intervals.share_shift((reference, candidate), (pair.reference.right, pair.candidate.right))
    if bounds is None:
        return none_above(gate)
    sample = min(int(candidate.sum()), int(reference.sum()))
    return Reading(bounds.value, bounds.low, bounds.high, sample)


def none_above(gate: GateSection) -> Reading:
    """The reading where no image reaches the threshold: nothing is shown by that."""
    why = f"no image reaches confidence {gate.threshold:g}"
    return Reading(0.0, None, None, 0, why, decides=False, needed="a lower threshold is needed")


def _difference_of_shares(first: BoolArray, second: BoolArray) -> Reading:
    """Share of `first` minus share of `second`, on the same images."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    bounds = intervals.tango(only_first, only_second, len(first))
    return Reading(bounds.value, bounds.low, bounds.high, len(first))


def _mean_rise(candidate: Float32Array, reference: Float32Array) -> Reading:
    differences: FloatArray = candidate.astype(np.float64) - reference
    if len(differences) < 2:
        return Reading(float(differences.mean()), None, None, len(differences), "one image", decides=False)
    bounds = intervals.mean_bounds(differences, seed=SEED)[0]
    return Reading(bounds.value, bounds.low, bounds.high, len(differences))

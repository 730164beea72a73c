"""What a gate can limit: a metric reads value and bounds off a measurement and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import BoolArray, FloatArray, Percentile
from calkd_edge.release.gates.evidence import Evidence, Pair, its_teacher, paired, same_student_in_fp32, taken

SEED = 0
Against = Literal["fp32", "teacher"]


@dataclass(frozen=True)
class Reading:
    """What a metric found.

    Attributes:
        value: None when nothing was measured.
        low: one-sided bound below.
        high: one-sided bound above.
        sample: images or effective runs behind it; 0 where the value is exact.
        why: why it is unmeasured, or why it cannot decide.
        decides: False when the value may be shown but must not decide.
        needed: what would let it decide, where that is known already.
        disagreements: images on which a pair differs, for pairs.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    sample: float = 0.0
    why: str | None = None
    decides: bool = True
    needed: str | None = None
    disagreements: int | None = None


Reader = Callable[[Evidence, Sequence[Evidence], GateSection], Reading]


@dataclass(frozen=True)
class Metric:
    """A metric by name: how it is read, which limits make sense, and in which unit it is written.

    Attributes:
        read: from the evidence, all evidence, and the gate.
        limits: which of max, min, within a gate may set.
        unit: share, nats, ms, bytes or plain.
        meaning: one line for people.
        against: fp32 or teacher for comparisons.
        threshold: whether the gate must name a confidence threshold.
        kind: how the number needed to decide is found.
    """

    read: Reader
    limits: tuple[str, ...]
    unit: str
    meaning: str
    against: Against | None = None
    threshold: bool = False
    kind: Literal["mean", "pair", "ece", "runs", "exact"] = "mean"


def _quality(field: str, *, fewest: int = 0) -> Reader:
    def read(own: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        quality = own.measurement.quality
        if quality is None:
            return Reading(None, why="its quality was not measured")
        found = getattr(quality, field)
        few = quality.images < fewest
        why = None
        if few and fewest == intervals.FEWEST_IMAGES_FOR_ECE:
            why = f"reported, not gated below {fewest:,} images"
        elif few:
            why = f"bounds of a mean hold from {fewest} images on, here are {quality.images}"
        return Reading(found.value, found.low, found.high, quality.images, why, not few)

    return read


def _latency(field: str) -> Reader:
    def read(own: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        latency = own.measurement.latency_ms
        if latency is None:
            return Reading(None, why="its latency was not measured")
        found: Percentile = getattr(latency, field)
        if own.measurement.emulated:
            return Reading(
                found.value, found.low, found.high, latency.effective_samples, "emulated", decides=False
            )
        if found.value is None:
            fewest = {"p50": 5, "p90": 29, "p95": 59}[field]
            return Reading(
                None,
                found.low,
                found.high,
                latency.effective_samples,
                f"{latency.effective_samples:.0f} effective runs cannot carry {field}",
                decides=False,
                needed=f"{fewest} effective runs would be needed",
            )
        return Reading(found.value, found.low, found.high, latency.effective_samples)

    return read


def _size(own: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    size = float(own.measurement.size_bytes)
    if not size:
        return Reading(None, why="no file was run")
    return Reading(size, size, size)


def _temperature_status(own: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
    fitted = own.measurement.calibration
    if fitted is None:
        return Reading(None, why="no calibration was fitted")
    if fitted.status in ("ok", "constant"):
        return Reading(0.0, 0.0, 0.0)
    return Reading(
        1.0, 0.0, 1.0, fitted.images, f"no temperature could be fitted: {fitted.status}", decides=False
    )


def _pair(against: Against, figure: Callable[[Pair, GateSection], Reading], *, fewest: int = 0) -> Reader:
    """A reader that pairs a measurement with its reference image by image."""

    def read(own: Evidence, peers: Sequence[Evidence], gate: GateSection) -> Reading:
        reference = (same_student_in_fp32 if against == "fp32" else its_teacher)(own, peers)
        name = (
            f"{own.measurement.model} fp32 on {own.measurement.device}"
            if against == "fp32"
            else "the teacher"
        )
        if reference is None or reference.predictions is None:
            return Reading(None, why=f"there are no predictions of {name} to compare with")
        if own.predictions is None:
            return Reading(None, why="its predictions were not kept")
        pair = paired(own.predictions, reference.predictions)
        if pair is None:
            return Reading(None, why=f"it and {name} have no images with the same labels in common")
        found = figure(pair, gate)
        if len(pair.labels) < fewest and found.value is not None:
            why = f"bounds of a mean hold from {fewest} images on, here are {len(pair.labels)}"
            return Reading(found.value, found.low, found.high, len(pair.labels), why, decides=False)
        return found

    return read


def _shares(first: BoolArray, second: BoolArray) -> Reading:
    """The difference of two shares on the same images, first - second."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    found = intervals.tango(only_first, only_second, len(first))
    return Reading(found.value, found.low, found.high, len(first), disagreements=only_first + only_second)


def _top1_drop(pair: Pair, gate: GateSection) -> Reading:
    return _shares(scores.top1(pair.reference) == pair.labels, scores.top1(pair.own) == pair.labels)


def _agreement(pair: Pair, gate: GateSection) -> Reading:
    same = scores.top1(pair.own) == scores.top1(pair.reference)
    found = intervals.wilson(int(same.sum()), len(same))
    return Reading(found.value, found.low, found.high, len(same))


def _nll_rise(pair: Pair, gate: GateSection) -> Reading:
    own, reference = (scores.nll_per_image(logits, pair.labels) for logits in (pair.own, pair.reference))
    return _mean(own - reference)


def _brier_rise(pair: Pair, gate: GateSection) -> Reading:
    own, reference = (scores.brier_per_image(logits, pair.labels) for logits in (pair.own, pair.reference))
    return _mean(own - reference)


def _mean(differences: FloatArray) -> Reading:
    if len(differences) < 2:
        return Reading(float(differences.mean()), None, None, len(differences), "one image", decides=False)
    found = intervals.mean_bounds(differences, seed=SEED)[0]
    return Reading(found.value, found.low, found.high, len(differences))


def _coverage_shift(pair: Pair, gate: GateSection) -> Reading:
    return _shares(*taken(pair, gate.threshold or 0.0))


def _precision_shift(pair: Pair, gate: GateSection) -> Reading:
    own, reference = taken(pair, gate.threshold or 0.0)
    right = [scores.top1(logits) == pair.labels for logits in (pair.reference, pair.own)]
    found = intervals.share_shift((reference, own), (right[0], right[1]))
    if found is None:
        return Reading(0.0, None, None, 0, f"no image reaches confidence {gate.threshold:g}", decides=False)
    return Reading(found.value, found.low, found.high, min(int(own.sum()), int(reference.sum())))


_MEAN, _ECE = intervals.FEWEST_IMAGES_FOR_A_MEAN, intervals.FEWEST_IMAGES_FOR_ECE
_DROP = ("max", "within")

METRICS: dict[str, Metric] = {
    "top1": Metric(_quality("top1"), ("min",), "share", "share of images whose first guess is right"),
    "top5": Metric(_quality("top5"), ("min",), "share", "share with the label among the first five guesses"),
    "nll": Metric(
        _quality("nll", fewest=_MEAN), ("max",), "nats", "mean negative log-likelihood of the labels"
    ),
    "brier": Metric(
        _quality("brier", fewest=_MEAN), ("max",), "nats", "mean squared error of the probabilities, 0..2"
    ),
    "ece": Metric(_quality("ece", fewest=_ECE), ("max",), "share", "expected calibration error", kind="ece"),
    "ece_over": Metric(
        _quality("ece_over", fewest=_ECE), ("max",), "share", "its overconfident part", kind="ece"
    ),
    "ece_under": Metric(
        _quality("ece_under", fewest=_ECE), ("max",), "share", "its underconfident part", kind="ece"
    ),
    "ace_classwise": Metric(
        _quality("ace_classwise", fewest=_ECE),
        ("max",),
        "share",
        "calibration error of every class",
        kind="ece",
    ),
    "ace_toplabel": Metric(
        _quality("ace_toplabel", fewest=_ECE),
        ("max",),
        "share",
        "calibration error, equal-mass bins",
        kind="ece",
    ),
    "temperature_status": Metric(
        _temperature_status, ("max",), "plain", "1 when no temperature could be fitted", kind="exact"
    ),
    "latency_p50_ms": Metric(_latency("p50"), ("max",), "ms", "median time of one image", kind="runs"),
    "latency_p90_ms": Metric(_latency("p90"), ("max",), "ms", "time that 90 % of images keep", kind="runs"),
    "latency_p95_ms": Metric(_latency("p95"), ("max",), "ms", "time that 95 % of images keep", kind="runs"),
    "size_bytes": Metric(_size, ("max",), "bytes", "size of the file that runs", kind="exact"),
    "top1_drop": Metric(
        _pair("fp32", _top1_drop), _DROP, "share", "top-1 lost against fp32, same images", "fp32", kind="pair"
    ),
    "nll_rise": Metric(
        _pair("fp32", _nll_rise, fewest=_MEAN), _DROP, "nats", "NLL gained against fp32, same images", "fp32"
    ),
    "brier_rise": Metric(
        _pair("fp32", _brier_rise, fewest=_MEAN),
        _DROP,
        "nats",
        "Brier gained against fp32, same images",
        "fp32",
    ),
    "top1_drop_from_teacher": Metric(
        _pair("teacher", _top1_drop), _DROP, "share", "top-1 lost against the teacher", "teacher", kind="pair"
    ),
    "nll_rise_from_teacher": Metric(
        _pair("teacher", _nll_rise, fewest=_MEAN), _DROP, "nats", "NLL gained against the teacher", "teacher"
    ),
    "coverage_shift": Metric(
        _pair("fp32", _coverage_shift),
        ("within",),
        "share",
        "change of the share of images that reach the threshold",
        "fp32",
        threshold=True,
        kind="pair",
    ),
    "precision_shift": Metric(
        _pair("fp32", _precision_shift),
        ("within",),
        "share",
        "change of top-1 among the images that reach the threshold",
        "fp32",
        threshold=True,
    ),
    "agreement": Metric(
        _pair("fp32", _agreement), ("min",), "share", "images where it and fp32 guess alike", "fp32"
    ),
}
"""Every metric a recipe's gates may name. A new one is a reader and a line here."""

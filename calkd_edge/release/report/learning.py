"""What the student has learnt: beside its teacher, the largest class and students for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import Component, Json, Predictions
from calkd_edge.release.gates.evidence import Evidence, PairedPredictions, paired
from calkd_edge.release.gates.learnt import largest_class
from calkd_edge.release.report import numbers

LARGE_GAP = 0.05
"""Top-1 that a student surely loses to its teacher before causes are named."""

LOST = "The student surely lost more than"
FEW_STEPS = 3000
MUCH_BETTER = 0.1
"""Top-1 on training images above that on calibration images, from which there are too few images."""

MIRROR_COSTS = 0.05


def learning(
    evidence: Sequence[Evidence],
    last: Mapping[str, Json],
    augmentation: Component,
    *,
    measures_batch_norm: bool = True,
) -> list[str]:
    """Sentences on the fp32 student beside its teacher and beside students that were trained for comparison.

    Args:
        evidence: all measurements.
        last: the last line of the student's history.
        augmentation: of the training images.
        measures_batch_norm: whether the recipe has its statistics measured after training.
    """
    by_model: dict[str, Predictions] = {}
    images = 0
    for item in evidence:
        m = item.measurement
        if m.calibrated and m.precision == "fp32" and item.predictions is not None:
            by_model.setdefault(m.model, item.predictions)
            images = m.calibration.images if m.calibration is not None else images
    student = by_model.pop("student", None)
    if student is None:
        return []
    pairs = {name: pair for name, other in by_model.items() if (pair := paired(student, other)) is not None}
    sentences = []
    if "teacher" in pairs:
        share = largest_class(student.labels)
        sentences += _against_teacher(pairs["teacher"], share, last, measures_batch_norm=measures_batch_norm)
    effects = {
        "baseline": ("Teaching", "the same student that learned from labels alone for as many epochs"),
        "control": (
            "Calibrating the teacher",
            "a control that learned from the uncalibrated teacher and was calibrated afterwards",
        ),
    }
    for name, (cause, other) in effects.items():
        if name in pairs and len(pairs[name].labels) > 1:
            sentences += _effect(pairs[name], cause, other)
    return sentences + _mirroring(last, augmentation, images)


def _against_teacher(
    pair: PairedPredictions, share: float, last: Mapping[str, Json], *, measures_batch_norm: bool
) -> list[str]:
    student, teacher = _right(pair)
    sentences = [
        f"The student is right on {numbers.percent(student.mean())} of {len(student):,} test images, its "
        f"teacher on {numbers.percent(teacher.mean())}; always naming the largest class is right on "
        f"{numbers.percent(share)}."
    ]
    drop = _change_of_top1(pair)
    if drop.high < -LARGE_GAP:
        sentences.append(
            f"{LOST} {numbers.percent(LARGE_GAP)} of top-1 to its teacher "
            f"({numbers.in_unit(drop.value, 'share')} {numbers.interval(drop.low, drop.high, 'share')}). "
            f"{likely_causes(last, float(teacher.mean()), measures_batch_norm=measures_batch_norm)}"
        )
    return sentences


def likely_causes(last: Mapping[str, Json], teacher: float, *, measures_batch_norm: bool) -> str:
    """What a large gap may come from, by the figures of the student's training.

    Args:
        last: the last line of its history.
        teacher: the teacher's top-1 on test images. A student that reaches less on its own training images
            did not fit them.
        measures_batch_norm: as in `learning`.
    """
    causes = []
    trained, held, steps = (last.get(name) for name in ("training_top1", "calibration_top1", "steps"))
    if isinstance(trained, float) and isinstance(held, float):
        seen = f"{numbers.percent(trained)} of training and {numbers.percent(held)} of calibration images"
        if trained < teacher:
            causes.append(
                f"it is right on {seen}: it did not fit its training images (rate, steps, capacity)"
            )
        elif trained - held > MUCH_BETTER:
            causes.append(f"it is right on {seen}: too few images, or too little augmentation")
    if isinstance(steps, int) and steps < FEW_STEPS:
        causes.append(f"it had {steps:,} steps: more epochs, or fewer images_per_step")
    if not measures_batch_norm:
        causes.append("its batch normalisation was not measured after training: measure_batch_norm: true")
    return f"Likely causes: {'; '.join(causes)}." if causes else ""


def _effect(pair: PairedPredictions, cause: str, other: str) -> list[str]:
    """What a cause changed, student against the other one, and what follows where it did harm."""
    losses = [scores.nll_per_image(logits, pair.labels) for logits in (pair.candidate, pair.reference)]
    nll = intervals.mean_bounds(losses[0] - losses[1], seed=0)[0]
    top1 = _change_of_top1(pair)
    shift = [
        f"{numbers.in_unit(bounds.value, unit)} {numbers.interval(bounds.low, bounds.high, unit)}"
        for bounds, unit in ((top1, "share"), (nll, "nats"))
    ]
    harm = f" {cause} did harm here: do without it." if top1.high < 0 else ""
    return [
        f"{cause} changed the student's top-1 by {shift[0]} and its NLL by {shift[1]}, against {other}."
        f"{harm} Each was trained with one seed; other seeds may differ by more."
    ]


def _mirroring(last: Mapping[str, Json], augmentation: Component, images: int) -> list[str]:
    """What the calibration images say about mirroring, where the student was trained without it.

    Args:
        last: the last line of the student's history.
        augmentation: of the training images.
        images: number of calibration images. The same images stand on both sides; taking them for different
            ones only widens the interval.
    """
    plain, mirrored = (last.get(f"calibration_top1{name}") for name in ("", "_mirrored"))
    if augmentation.settings.get("flip") is not False or not isinstance(plain, float):
        return []
    if not isinstance(mirrored, float) or not images or plain - mirrored < MIRROR_COSTS:
        return []
    if plain - mirrored < 1.96 * ((plain * (1 - plain) + mirrored * (1 - mirrored)) / images) ** 0.5:
        return []
    return [
        f"Left and right matter to the student: it is right on {numbers.percent(plain)} of the calibration "
        f"images and on {numbers.percent(mirrored)} of them mirrored. Keep data.augmentation.flip: false."
    ]


def _right(pair: PairedPredictions) -> tuple[np.ndarray, np.ndarray]:
    first, second = (scores.top1(logits) == pair.labels for logits in (pair.candidate, pair.reference))
    return first, second


def _change_of_top1(pair: PairedPredictions) -> intervals.Bounds:
    first, second = _right(pair)
    return intervals.tango(int((first & ~second).sum()), int((second & ~first).sum()), len(pair.labels))

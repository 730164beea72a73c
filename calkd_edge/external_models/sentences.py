"""Sentences about a repair that its figures do not show."""

from __future__ import annotations

from calkd_edge.records import Calibration, Estimate, Quality, Repair
from calkd_edge.release.report import numbers


def sentences(repair: Repair) -> tuple[str, ...]:
    """Whether it helped, whether it is enough, and oddities of the file."""
    messages: list[str] = []
    if repair.end is not None and repair.end.softmaxes > 1:
        messages.append(
            f"The file takes softmax {repair.end.softmaxes} times: its confidences are squeezed together, "
            "however confident it is. Export it with one, and calibrate that."
        )
    if repair.before is not None and repair.after is not None:
        messages += _of_error(repair.before, repair.after)
        messages += _of_temperature(repair.calibration, repair.before, repair.nll_change)
        messages += _of_answers(repair)
    else:
        messages.append("These inputs have no labels: the effect of calibration on the error is not known.")
    messages += [text[0].upper() + text[1:] + "." for text in repair.calibration.warnings]
    return tuple(messages)


def _of_error(before: Quality, after: Quality) -> list[str]:
    change = f"from {numbers.percent(before.ece.value)} to {numbers.percent(after.ece.value)}"
    chance = (
        f"a perfectly calibrated model with these confidences stays below "
        f"{numbers.percent(after.confidence.ece_floor_95)} in 95 of 100 samples of {after.images:,} images"
    )
    if after.ece.value <= after.confidence.ece_floor_95:
        return [f"ECE went {change}; {chance}, so no miscalibration is visible."]
    if after.ece.value < before.ece.value:
        return [f"ECE went {change}; {chance}: this map is not enough, another method may do more."]
    return [f"ECE did not fall: it went {change}; {chance}."]


def _of_temperature(calibration: Calibration, before: Quality, nll_change: Estimate | None) -> list[str]:
    t, se = calibration.temperature, calibration.se
    helps = nll_change is not None and nll_change.high < 0  # far from 1, the standard error is no guide
    if t is None or not se or calibration.status != "ok" or abs(t - 1) > 2 * se[0] or helps:
        return []
    summary = f"T is {numbers.temperature(t, se[0])}, within two standard errors of 1"
    if before.ece.value <= before.confidence.ece_floor_95:
        return [f"{summary}: on these images it was calibrated already."]
    return [f"{summary}: a temperature changes nothing here; the error is of another kind."]


def _of_answers(repair: Repair) -> list[str]:
    change = repair.top1_change
    if change is None or repair.calibration.temperature is not None:
        return []
    return [
        f"This map can change predictions: top-1 changed by {numbers.estimate(change, 'share')}. Evaluate it "
        "again before it ships."
    ]

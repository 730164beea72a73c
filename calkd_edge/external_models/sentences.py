"""What a reader needs to know of a repair beyond its figures."""

from __future__ import annotations

from calkd_edge.records import Calibration, Quality, Repair
from calkd_edge.release.report import numbers


def sentences(repair: Repair) -> tuple[str, ...]:
    """Whether it helped, whether it is enough, and what is odd about the file."""
    said: list[str] = []
    if repair.end is not None and repair.end.softmaxes > 1:
        said.append(
            f"The file takes softmax {repair.end.softmaxes} times: its confidences are squeezed together, "
            "however sure it is. Export it with one, and calibrate that."
        )
    if repair.end is not None and repair.end.kind == "logits":
        said.append(
            f"No softmax was found behind '{repair.end.scores}', so its numbers were taken as logits. If "
            "they are probabilities, say --scores probabilities."
        )
    if repair.before is not None and repair.after is not None:
        said += _of_error(repair.before, repair.after)
        said += _of_temperature(repair.calibration, repair.before)
        said += _of_answers(repair)
    else:
        said.append("These inputs have no labels: what calibration did to the error is not known.")
    said += [text[0].upper() + text[1:] + "." for text in repair.calibration.warnings]
    return tuple(said)


def _of_error(before: Quality, after: Quality) -> list[str]:
    moved = f"from {numbers.percent(before.ece.value)} to {numbers.percent(after.ece.value)}"
    chance = (
        f"a perfectly calibrated model with these confidences stays below "
        f"{numbers.percent(after.confidence.ece_floor_95)} in 95 of 100 samples of {after.images:,} images"
    )
    if after.ece.value <= after.confidence.ece_floor_95:
        return [f"ECE went {moved}; {chance}, so no miscalibration is left to be seen."]
    if after.ece.value < before.ece.value:
        return [f"ECE went {moved}; {chance}: this map is not enough, another method may do more."]
    return [f"ECE did not fall: it went {moved}; {chance}."]


def _of_temperature(calibration: Calibration, before: Quality) -> list[str]:
    t, se = calibration.temperature, calibration.se
    if t is None or not se or calibration.status != "ok" or abs(t - 1) > 2 * se[0]:
        return []
    found = f"T is {numbers.temperature(t, se[0])}, within two standard errors of 1"
    if before.ece.value <= before.confidence.ece_floor_95:
        return [f"{found}: on these images it was calibrated already."]
    return [f"{found}: a temperature changes nothing here, and what is wrong is of another kind."]


def _of_answers(repair: Repair) -> list[str]:
    change = repair.top1_change
    if change is None or repair.calibration.temperature is not None:
        return []
    return [
        f"This map can change answers: top-1 moved by {numbers.estimate(change, 'share')}. Judge it again "
        "before it ships."
    ]

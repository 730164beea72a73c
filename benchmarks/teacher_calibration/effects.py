"""What calibrating the headline's teachers changes: by loss, and beside the two rivals."""

from __future__ import annotations

from collections.abc import Callable

from cells import LOSSES
from hypotheses import CALIBRATED, FIXED, RAW, by_loss, paired
from intervals_over_runs import SHOWN, over_seeds
from markdown import per_cent, shown, table
from results import PAIRS, Results, Row, corrupted, ece, ece_own, mean_over_seeds, nll, nll_own, top1
from scatter import Bar, differences

ALGEBRA = """### The algebra of R1

Let z be the teacher's logits, v the student's, T the teacher's temperature, tau that of KD. Both ways show
the student the same soft labels, p = softmax(z / (T tau)). Calibrating compares them with softmax(v / tau),
moving with softmax(v / (T tau)). The loss is multiplied by the square of its KD temperature, so the
gradients with respect to v are

- calibrated teacher, KD at tau: tau (softmax(v / tau) - p)
- raw teacher, KD at T tau: T tau (softmax(v / (T tau)) - p)

They are equal for T = 1 alone. Where |v| is small beside tau, softmax(v / s) is near 1/C + (v - mean v) /
(C s): the pull on v is then (v - mean v) / C in both, and the pull of the soft labels, tau (1/C - p), is T
times stronger when tau is moved. At the end of learning the first has v = z / T, the calibrated teacher, and
the second v = z, the raw one. So the two differ in how strongly teaching pulls beside cross-entropy, and in
how confident the student ends, not in what is shown.
"""


def intervention(results: Results, kind: str) -> tuple[str, dict[str, str]]:
    """Calibrated less raw by loss."""
    figures: tuple[tuple[str, Callable[[Row], float], str], ...] = (
        ("top-1 (points)", top1, "points"),
        ("NLL", nll, "nats"),
        ("NLL, own temperature", nll_own, "nats"),
        ("ECE (points)", ece, "points"),
        ("ECE, own temperature (points)", ece_own, "points"),
    )
    rows, bars = [], []
    for loss in LOSSES:
        for how in (CALIBRATED, FIXED):
            intervals = [by_loss(loss, figure, how)(results, SHOWN) for _, figure, _ in figures]
            cells = (shown(each, unit) for each, (_, _, unit) in zip(intervals, figures, strict=True))
            rows.append((f"{loss}, {how}", *cells))
            if intervals[0] is not None:
                bars.append(Bar(f"{loss}, {how}", intervals[0].value, intervals[0].low, intervals[0].high))
    text = (
        "### Calibrated less raw teacher, by loss\n\n"
        f"Means over {len(PAIRS)} pairs of teacher and student and {len(results.scale.seeds)} seeds, with "
        "95 % intervals. They hold for these teachers, of one training each: pairs fixed, seeds drawn.\n\n"
    )
    drawn = {}
    if bars:
        name = f"evidence-losses-{kind}.svg"
        drawn[name] = differences(
            bars,
            x_name="top-1, less that of the raw teacher's student (points)",
            title="What calibrating the teacher changes",
            description="Differences in student top-1 by loss, with 95 % intervals.",
        )
        text += f"![Differences by loss](pictures/{name})\n\n"
    text += table(("loss and teacher", *(name for name, _, _ in figures)), rows)
    return f"{text}\n{_by_pair(results)}", drawn


def _by_pair(results: Results) -> str:
    """Top-1 of each pair's students by loss, and each loss less kd."""
    rows = []
    for loss in LOSSES:
        for how in (RAW, CALIBRATED, FIXED):
            tops = [mean_over_seeds(results, (loss, *pair, how), top1) for pair in PAIRS]
            each = ["runs missing" if top is None else per_cent(top, 2) for top in tops]
            less = "" if loss == "kd" else shown(paired((loss, how), ("kd", how), top1)(results, SHOWN))
            rows.append((f"{loss}, {how}", *each, less))
    head = ("loss and teacher", *(", ".join(pair) for pair in PAIRS), "less kd's (points)")
    return (
        "Top-1 (%) of each pair, mean over seeds, and the loss less `kd` with the same teacher:\n\n"
        + table(head, rows)
    )


def rivals(results: Results) -> str:
    """Both rivals, pair by pair."""
    calibrated, moved, raw = ("kd", CALIBRATED), ("moved tau", RAW), ("kd", RAW)
    rows = []
    for first, second, figure, name, unit in (
        (calibrated, moved, top1, "top-1, calibrated less moved KD temperature", "points"),
        (calibrated, moved, nll_own, "NLL, own temperature, calibrated less moved", "nats"),
        (calibrated, raw, nll, "NLL, calibrated less raw", "nats"),
        (calibrated, raw, nll_own, "NLL, own temperature, calibrated less raw", "nats"),
        (calibrated, raw, corrupted, "NLL under corruption, own temperature, calibrated less raw", "nats"),
    ):
        values = results.differences(first, second, figure)
        if values is None:
            rows.append((name, "runs missing", *[""] * len(PAIRS)))
            continue
        factor = 100 if unit == "points" else 1
        each = (f"{factor * value:+.3f}" for value in values.mean(axis=1))
        rows.append((name, shown(over_seeds(values), unit), *each))
    return "### The two rivals\n\n" + table(("", "mean", *(", ".join(pair) for pair in PAIRS)), rows)

"""The same precision on a board and at home: how alike the answers are, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import Measurement
from calkd_edge.release.gates.evidence import Evidence, Pair, paired
from calkd_edge.release.report import numbers

HOME = "local"


def answers_elsewhere(evidence: Sequence[Evidence], names: Sequence[str]) -> Iterator[str]:
    """A sentence for each calibrated model on a device that was scored on `local` too: their common images.

    At home the same runtime is taken where it was scored there, else any.

    Args:
        evidence: all measurements.
        names: of each, in that order.
    """
    for own, name in zip(evidence, names, strict=True):
        m = own.measurement
        at_home = [one for one in evidence if _is_at_home(one.measurement, m)] if m.device != HOME else []
        home = min(at_home, key=lambda one: one.measurement.runtime != m.runtime, default=None)
        if home is None or own.predictions is None or home.predictions is None:
            continue
        pair = paired(own.predictions, home.predictions)
        if pair is not None:
            runtime = home.measurement.runtime
            yield f"{name} and {HOME if runtime == m.runtime else f'{HOME}:{runtime}'} {_alike(pair)}."


def _is_at_home(one: Measurement, m: Measurement) -> bool:
    same = (one.model, one.precision, one.calibrated) == (m.model, m.precision, m.calibrated)
    return same and one.calibrated and one.device == HOME


def _alike(pair: Pair) -> str:
    guesses = [scores.top1(logits) for logits in (pair.own, pair.reference)]
    same = int((guesses[0] == guesses[1]).sum())
    share = intervals.wilson(same, len(pair.labels))
    right, there = (guess == pair.labels for guess in guesses)
    top1 = intervals.tango(int((right & ~there).sum()), int((there & ~right).sum()), len(pair.labels))
    gap = float(np.abs(pair.own.astype(np.float64) - pair.reference.astype(np.float64)).max())
    alike, more = (
        f"{numbers.percent(one.value)} {numbers.interval(one.low, one.high, 'share')}"
        for one in (share, top1)
    )
    return (
        f"guess alike on {alike} of {len(pair.labels):,} images: top-1 is {more} higher on the device, "
        f"and no logit differs by more than {gap:.2g}"
    )

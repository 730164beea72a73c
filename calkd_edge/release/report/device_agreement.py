"""The same file on a device and on this machine: agreement of their answers, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from calkd_edge.metrics import intervals
from calkd_edge.metrics import per_image as scores
from calkd_edge.records import Measurement
from calkd_edge.release.gates.evidence import Evidence, PairedPredictions, paired
from calkd_edge.release.report import numbers

LOCAL = "local"


def agreement_with_local(evidence: Sequence[Evidence], names: Sequence[str]) -> Iterator[str]:
    """A sentence for each calibrated model on a device that was also scored on `local`.

    On `local` the same runtime is compared where it was scored there, else any.

    Args:
        evidence: all measurements.
        names: their names, in the same order.
    """
    for item, name in zip(evidence, names, strict=True):
        m = item.measurement
        peers = (
            [peer for peer in evidence if _is_local_peer(peer.measurement, m)] if m.device != LOCAL else []
        )
        local = min(peers, key=lambda peer: peer.measurement.runtime != m.runtime, default=None)
        if local is None or item.predictions is None or local.predictions is None:
            continue
        pair = paired(item.predictions, local.predictions)
        if pair is not None:
            runtime = local.measurement.runtime
            other = LOCAL if runtime == m.runtime else f"{LOCAL}:{runtime}"
            yield f"{name} and {other} {_comparison(pair)}."


def _is_local_peer(peer: Measurement, m: Measurement) -> bool:
    same = (peer.model, peer.precision, peer.calibrated) == (m.model, m.precision, m.calibrated)
    return same and peer.calibrated and peer.device == LOCAL


def _comparison(pair: PairedPredictions) -> str:
    guesses = [scores.top1(logits) for logits in (pair.candidate, pair.reference)]
    same = int((guesses[0] == guesses[1]).sum())
    share = intervals.clopper_pearson(same, len(pair.labels))
    device, local = (guess == pair.labels for guess in guesses)
    top1 = intervals.tango(int((device & ~local).sum()), int((local & ~device).sum()), len(pair.labels))
    gap = float(np.abs(pair.candidate.astype(np.float64) - pair.reference.astype(np.float64)).max())
    agreement, difference = (
        f"{numbers.percent(bounds.value)} {numbers.interval(bounds.low, bounds.high, 'share')}"
        for bounds in (share, top1)
    )
    return (
        f"agree on {agreement} of {len(pair.labels):,} images: top-1 is {difference} higher on the device, "
        f"and the largest difference between two logits is {gap:.2g}"
    )

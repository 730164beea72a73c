"""Whether answers would be right far more often if the classes stood in another order."""

from __future__ import annotations

import numpy as np

from calkd_edge.metrics import per_image as scores
from calkd_edge.records import FloatArray, IntArray

FEWEST = 20
FAR_BETTER = 0.15
"""Of top-1: what another order of classes must gain to be pointed out; it must be right half of the time too,
since some other order is always somewhat better."""


def better_order(logits: FloatArray, labels: IntArray, classes: tuple[str, ...]) -> str | None:
    """A sentence where another order of the classes would score far better; else None.

    The other order pairs labels and predictions greedily, the most frequent pair first.
    """
    if len(labels) < FEWEST:
        return None
    predicted = scores.top1(logits)
    pairs, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    paired: dict[int, int] = {}
    right = 0
    for at in np.argsort(-counts, kind="stable"):
        label, prediction = (int(number) for number in pairs[:, at])
        if label not in paired and prediction not in paired.values():
            paired[label] = prediction
            right += int(counts[at])
    top1, best = float((predicted == labels).mean()), right / len(labels)
    if best < max(0.5, top1 + FAR_BETTER):
        return None
    label, prediction = next((pair for pair in paired.items() if pair[0] != pair[1]), (0, 0))
    return (
        f"another order of the classes would score top-1 {best:.1%} instead of {top1:.1%}: images of "
        f"'{classes[label]}' are mostly predicted as '{classes[prediction]}'"
    )

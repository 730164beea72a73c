"""The values of a classifier's scores: whether they are what the file or the caller says they are."""

from __future__ import annotations

import numpy as np

from calkd_edge.errors import RecipeError
from calkd_edge.records import FloatArray

ROUNDED = 0.02
"""How far the sum of a row of probabilities may lie from 1: halves and 8-bit scales round each of them."""


SAME = 1e-3
"""Of logits, relative above 1: larger differences between batch sizes are more than rounding."""


def are_same(first: FloatArray, second: FloatArray) -> bool:
    """Whether two runs of one file gave the same scores but for rounding."""
    one, other = (np.asarray(values, dtype=np.float64) for values in (first, second))
    close = np.abs(one - other) <= SAME * np.maximum(1.0, np.abs(other))
    return bool((close | (np.isnan(one) & np.isnan(other)) | (one == other)).all())


def rows_sum_to(values: FloatArray, total: float) -> bool:
    """Whether all values [N, C] lie in 0..total and each row sums to it."""
    wide = np.asarray(values, dtype=np.float64)
    margin = ROUNDED * total
    with np.errstate(invalid="ignore"):
        within = (wide >= -1e-6 * total) & (wide <= total + margin)
        sums = np.abs(wide.sum(axis=1) - total) <= margin
    return len(wide) > 0 and bool(within.all() and sums.all())


def check_logits(values: FloatArray, where: str, *, insisted: bool, remedy: str, per_cent: str) -> str | None:
    """Compare values that are taken as logits with what only probabilities are.

    Args:
        values: [N, C].
        where: what holds them, for messages.
        insisted: whether the caller said that they are logits.
        remedy: how to say that they are probabilities.
        per_cent: what to do with per cents.

    Returns:
        A caution, or None.

    Raises:
        RecipeError: they are probabilities or per cents.
    """
    if rows_sum_to(values, 1.0):
        message = f"{where}: every row lies in 0..1 and sums to 1: these are probabilities, not logits"
        if not insisted:
            raise RecipeError(message, remedy=remedy)
        return f"{message}, but they are read as logits, as --scores says"
    if rows_sum_to(values, 100.0) and not insisted:
        raise RecipeError(
            f"{where}: every row lies in 0..100 and sums to 100: these are per cents, not logits",
            remedy=per_cent,
        )
    with np.errstate(invalid="ignore"):
        if ((values >= 0) & (values <= 1)).all():
            return (
                f"{where}: every value lies in 0..1 and the rows do not sum to 1: they may be sigmoids or "
                "probabilities, and are read as logits"
            )
    return None


def check_probabilities(logarithms: FloatArray, where: str, *, per_cent: str) -> str | None:
    """Refuse values that are taken as probabilities and whose rows do not sum to 1.

    Args:
        logarithms: [N, C], of the values.
        where: what holds them, for messages.
        per_cent: what to do with per cents.

    Returns:
        A caution, or None.

    Raises:
        RecipeError: a row does not sum to 1.
    """
    values = np.exp(np.asarray(logarithms, dtype=np.float64))
    if rows_sum_to(values, 100.0):
        raise RecipeError(f"{where}: every row sums to 100: these are per cents", remedy=per_cent)
    sums = values.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if np.abs(sums[worst] - 1) > ROUNDED:
        fractions = bool((values <= 1).all())
        raise RecipeError(
            f"{where}: row {worst} sums to {sums[worst]:.4g}, not to 1: these are no probabilities",
            remedy="Export the classifier with a softmax over its classes, or use --scores logits"
            if fractions
            else "If they are logits, use --scores logits",
        )
    if len(values) > 1 and bool((values.max(axis=1) >= 1 - 1e-6).all()):
        return f"{where}: every row is one 1 and zeros: these are decisions, which carry no confidence"
    return None

"""Weights of the same architecture from another library: other names, the same tensors in the same order."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from torch import Tensor

log = logging.getLogger(__name__)


def in_order(
    state: Mapping[str, Tensor], network: Mapping[str, Tensor], head: Collection[str], source: str
) -> Mapping[str, Tensor]:
    """The state dict by the network's names, where only the names differ; else as it is.

    Every tensor must have the kind (weight, bias, running_mean...) and, outside the head, the shape of the
    network's tensor at its place. That is an assumption, not a proof, so it is logged, and made only where
    the network is trained further.

    Args:
        state: by the names in the file.
        network: by the network's names.
        head: names of the network that are not taken.
        source: the recipe's key and the file, for messages.
    """
    if len(state) != len(network) or network.keys() & state.keys():
        return state
    pairs = list(zip(state, network, strict=True))
    for theirs, ours in pairs:
        is_same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not is_same_kind or (ours not in head and state[theirs].shape != network[ours].shape):
            return state
    log.warning(
        "%s: its names are those of another library (%s), so its %d tensors are taken in their order; "
        "kinds and shapes agree",
        source,
        pairs[0][0],
        len(pairs),
    )
    return {ours: state[theirs] for theirs, ours in pairs}

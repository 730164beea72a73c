"""Gates that cannot judge: against an earlier release that was not named, on target devices that were not.

In scope: setting them apart, with a sentence for each reason. Out of scope: judging.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from calkd_edge.recipe.schema import GateSection
from calkd_edge.release.gates.metrics import compares_releases
from calkd_edge.release.gates.validation import TARGET

NO_BASELINE = "No earlier release was named, so these gates did not judge"
NO_TARGET = "No device was added by --device, so these gates with device: target did not judge"


def set_apart(
    gates: Sequence[GateSection], *, has_baseline: bool, has_target: bool
) -> tuple[list[GateSection], tuple[str, ...]]:
    """The gates that can judge, and sentences that name the others.

    Args:
        gates: of the recipe.
        has_baseline: whether there is an earlier release to compare with.
        has_target: whether `device: target` stands for any device.
    """
    judging, without_baseline, without_target = [], [], []
    for gate in gates:
        if compares_releases(gate) and not has_baseline:
            without_baseline.append(gate)
        elif gate.device == TARGET and not has_target:
            without_target.append(gate)
        else:
            judging.append(gate)
    sentences = ((NO_BASELINE, without_baseline), (NO_TARGET, without_target))
    return judging, tuple(f"{why}: {_names(idle)}." for why, idle in sentences if idle)


def idle_sentences(conclusions: Iterable[str]) -> list[str]:
    """The sentences among a report's conclusions that name gates that did not judge."""
    return [text for text in conclusions if text.startswith((NO_BASELINE, NO_TARGET))]


def _names(gates: Iterable[GateSection]) -> str:
    return ", ".join(dict.fromkeys(gate.label for gate in gates))

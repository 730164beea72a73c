"""What a plan must know of a precision beforehand: whether it rounds, chooses, or trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from calkd_edge.quantization import QUANTIZERS


@dataclass(frozen=True)
class Traits:
    """Properties of a precision.

    Attributes:
        rounds: its files round to integers; they are simulated as well.
        chooses: it makes choices on half of the calibration images, to which no calibration is fitted then.
        trains: its student is trained further for it.
    """

    rounds: bool = False
    chooses: bool = False
    trains: bool = False


PACKAGED = {
    "fp32": Traits(),
    "fp16": Traits(),
    "int8": Traits(rounds=True),
    "int8_fp16": Traits(rounds=True),
    "int8_mixed": Traits(rounds=True, chooses=True),
    "int8_qat": Traits(rounds=True, trains=True),
}
"""Of the precisions of this package: a plan loads none of their code."""

Quantizer = TypeVar("Quantizer", bound=Callable[..., object])


def rounds(quantizer: Quantizer) -> Quantizer:
    """Declare that a precision's files round to integers.

    Example:
        >>> @rounds
        ... def int4(model, source, progress):
        ...     return model
        >>> _ = QUANTIZERS.add("int4_of_the_example", int4)
        >>> traits_of("int4_of_the_example").rounds
        True
    """
    quantizer.traits = Traits(rounds=True)  # type: ignore[attr-defined]  # read by `traits_of`
    return quantizer


def traits_of(name: str) -> Traits:
    """The traits of a precision by its name; none of them for a name that is not registered here."""
    if name in PACKAGED or name not in QUANTIZERS.names():
        return PACKAGED.get(name, Traits())
    declared: Traits = getattr(QUANTIZERS.load(name), "traits", Traits())
    return declared

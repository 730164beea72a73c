"""Which function makes the file of a runtime that takes no ONNX, and the packages that it needs."""

from __future__ import annotations

from typing import Protocol

import onnx

from calkd_edge.export import CONVERTERS


class Converter(Protocol):
    """Makes a runtime's file from the canonical ONNX file.

    Attributes:
        packages: distributions whose versions decide what it writes.
    """

    packages: tuple[str, ...]

    def check(self) -> None:
        """Check that its packages are installed.

        Raises:
            EnvironmentProblem: one is missing; the remedy installs it.
        """

    def convert(self, model: onnx.ModelProto) -> bytes:
        """The file: uint8 images [1, 3, H, W] in, the outputs of the ONNX file, by name.

        Raises:
            StageFailed: the model cannot be converted.
        """


def converter_of(runtime: str) -> Converter:
    """The converter of a runtime of kind "converted".

    Raises:
        RecipeError: none is registered.
    """
    converter: Converter = CONVERTERS.load(runtime)()
    return converter

"""What a training keeps after each epoch, so that a killed one goes on where it was."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from calkd_edge.training.averaging import WeightAverage

CHECKPOINT = "last.ckpt"


class Place(Protocol):
    """Where checkpoints and the history lie."""

    @property
    def scratch(self) -> Path:
        """The folder that survives a kill."""

    @property
    def history(self) -> Path:
        """The file with one JSON line an epoch."""


@dataclass(frozen=True)
class State:
    """Everything of a training that changes from step to step.

    Attributes:
        module: trained, with the losses' own layers.
        optimizer: with its momenta.
        average: of the weights, if one is kept.
        fabric: whose precision may hold a gradient scaler.
    """

    module: nn.Module
    optimizer: Any
    average: WeightAverage | None
    fabric: Fabric

    def save(self, place: Place, epochs_done: int, lines: list[str]) -> None:
        """Write the checkpoint under another name, then rename it; write the history anew."""
        state = {
            "epochs_done": epochs_done,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "history": lines,
        }
        temporary = place.scratch / f".{CHECKPOINT}.{os.getpid()}"
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())  # else a power cut may leave the new name with nothing behind it
        os.replace(temporary, place.scratch / CHECKPOINT)
        place.history.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def resume(self, place: Place) -> tuple[int, list[str]]:
        """Fill everything from the checkpoint; returns the first epoch to do and the history so far."""
        path = place.scratch / CHECKPOINT
        if not path.is_file():
            return 0, []
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None:
            self.average.restore(state["average"])
        lines = list(state["history"])
        place.history.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return int(state["epochs_done"]), lines

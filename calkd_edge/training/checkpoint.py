"""The checkpoint after each epoch, from which a killed training resumes.

The last two are kept, each with its digest in its name: a training resumes from the newest that is intact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files.named_by_digest import first_intact, has_its_digest, write_with_digest
from calkd_edge.training.averaging import WeightAverage

if TYPE_CHECKING:
    from lightning_fabric import Fabric

KEPT = 2


def checkpoints(scratch: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return sorted(scratch.glob("epoch-*.ckpt"), reverse=True)


class Locations(Protocol):
    """The paths of the checkpoint and the history."""

    @property
    def scratch(self) -> Path:
        """The folder that survives a kill."""

    @property
    def history(self) -> Path:
        """The file with one JSON line per epoch."""


@dataclass(frozen=True)
class State:
    """Everything of a training that changes from step to step.

    Attributes:
        module: in training, including the layers of losses.
        optimizer: with its momenta; Fabric wraps it.
        average: of the weights, if there is any.
        fabric: its precision may contain a gradient scaler.
    """

    module: nn.Module
    optimizer: Any
    average: WeightAverage | None
    fabric: Fabric

    def save(self, paths: Locations, epochs_done: int, lines: list[str]) -> None:
        """Write a checkpoint, remove the oldest, and rewrite the history."""
        state = {
            "epochs_done": epochs_done,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "history": lines,
        }
        write_with_digest(paths.scratch / f"epoch-{epochs_done:06}.ckpt", partial(torch.save, state))
        for old in checkpoints(paths.scratch)[KEPT:]:
            old.unlink()
        paths.history.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def resume(self, paths: Locations) -> tuple[int, list[str]]:
        """Restore everything from the newest intact checkpoint, if there is one; the same on every process.

        Returns:
            the first epoch to run, and the history so far.

        Raises:
            EnvironmentProblem: a process does not see the checkpoint that the first one continues from.
        """
        path = self._chosen(paths.scratch)
        if path is None:
            return 0, []
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None:
            self.average.restore(state["average"])
        lines = list(state["history"])
        if self.fabric.global_rank == 0:
            paths.history.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return int(state["epochs_done"]), lines

    def _chosen(self, scratch: Path) -> Path | None:
        """The checkpoint that the first process continues from, as this process sees it."""
        newest = first_intact(checkpoints(scratch)) if self.fabric.global_rank == 0 else None
        if self.fabric.world_size == 1:
            return newest
        name: str | None = self.fabric.broadcast(None if newest is None else newest.name)
        path = None if name is None else scratch / name
        # Asked of all, so that no process waits for one that has raised an error.
        missing = torch.tensor(float(path is not None and not _is_readable(path)), device=self.fabric.device)
        if bool(self.fabric.all_reduce(missing, reduce_op="sum")):
            raise EnvironmentProblem(
                f"not every process sees the checkpoint {name} in {scratch}",
                remedy="Put the store on a disk that all machines of the training share: --store DIR.",
            )
        return path


def _is_readable(path: Path) -> bool:
    try:
        return has_its_digest(path)
    except OSError:
        return False

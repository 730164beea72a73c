"""fit(): the epochs of one training, resumable after any kill with the same final weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from calkd_edge.errors import EnvironmentProblem, StageFailed
from calkd_edge.recipe import TrainingSection
from calkd_edge.training.schedule import learning_rate, optimizer_for

CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class Batch:
    """One step's images and what belongs to them.

    Attributes:
        images: [B, 3, H, W] uint8, augmented.
        labels: [B] int64.
        indices: [B] int64, position in the train split.
        epoch: fractional.
        teacher_logits: [B, C] float32, calibrated, when soft labels were read; else None.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    epoch: float
    teacher_logits: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        logits = self.teacher_logits
        return Batch(
            self.images.to(device),
            self.labels.to(device),
            self.indices.to(device),
            self.epoch,
            None if logits is None else logits.to(device),
        )


@dataclass(frozen=True)
class Training:
    """What `fit` needs besides the module.

    Attributes:
        section: epochs, images per step, optimizer, schedule.
        seed: of every draw.
        steps_per_epoch: how many batches one epoch yields on every process.
        batches: epoch, rank, world -> that process' batches.
        watch: called after each epoch with the epoch's number; figures for the history, never for a decision.
        scratch: where checkpoints survive a kill.
        history: the file that gets one JSON line an epoch.
        progress: called with (steps done, steps in all).
        accelerator: where to train.
    """

    section: TrainingSection
    seed: int
    steps_per_epoch: int
    batches: Callable[[int, int, int], Iterable[Batch]]
    watch: Callable[[int], Mapping[str, float]]
    scratch: Path
    history: Path
    progress: Callable[[int, int], None]
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"


def fabric_for(accelerator: str) -> Fabric:
    """A launched Fabric: one process, or the rank that torchrun started.

    Raises:
        EnvironmentProblem: cuda was asked for and is not there.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "--accelerator cuda: torch sees no CUDA device", remedy="Use --accelerator auto or cpu."
        )
    chosen = "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
    fabric = Fabric(
        accelerator=chosen,
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
    )
    fabric.launch()
    return fabric


def fit(module: nn.Module, training: Training, fabric: Fabric) -> None:
    """Train `module`, whose forward takes a Batch and returns named terms that sum to the loss.

    Each epoch begins by seeding torch from (seed, epoch), and ends with a checkpoint that is written under
    another
    name and renamed: a killed training goes on at the last whole epoch and ends with the same weights, bit
    for bit,
    on the same machine, library versions and number of threads.

    Raises:
        StageFailed: the loss is no longer finite.
    """
    section = training.section
    if section.sync_batch_norm and fabric.device.type != "cuda":
        raise EnvironmentProblem(
            "sync_batch_norm works on CUDA only: torch's SyncBatchNorm refuses CPU tensors",
            remedy="Set sync_batch_norm: false, or train on GPUs.",
        )
    if section.sync_batch_norm:
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch's stub
    # On CPU, torch 2.14's DDP crashes in the backward pass of channels-last weights (of a 1x1 projection).
    if fabric.world_size == 1 or fabric.device.type == "cuda":
        module = module.to(memory_format=torch.channels_last)
    wrapped, optimizer = fabric.setup(module, optimizer_for(module, section.optimizer))
    first, lines = _resume(module, optimizer, training)
    for epoch in range(first, section.epochs):
        draw = np.random.SeedSequence([training.seed, epoch, fabric.global_rank])
        torch.manual_seed(int(draw.generate_state(1)[0]))
        terms = _epoch(wrapped, optimizer, training, fabric, epoch)
        if fabric.global_rank == 0:
            lines.append(json.dumps({"epoch": epoch, **terms, **training.watch(epoch)}))
            _checkpoint(module, optimizer, training, epoch + 1, lines)
        fabric.barrier()


def _epoch(wrapped: Any, optimizer: Any, training: Training, fabric: Fabric, epoch: int) -> dict[str, float]:
    """One pass over the batches; returns each term's mean.

    Raises:
        StageFailed: a term's mean or a weight is not finite. Checked once an epoch, since asking each step
        would make a GPU wait; the weights too, since the last step's gradient shows in no loss.
    """
    section, steps = training.section, training.steps_per_epoch
    sums: dict[str, Tensor] = {}
    wrapped.train()
    for step, batch in enumerate(training.batches(epoch, fabric.global_rank, fabric.world_size)):
        at = epoch + step / steps
        rate = learning_rate(section.optimizer.lr, section.schedule, epoch=at, epochs=section.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        terms: dict[str, Tensor] = wrapped(batch.to(fabric.device))
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        fabric.backward(loss)
        if section.clip_gradient_norm is not None:
            fabric.clip_gradients(
                wrapped, optimizer, max_norm=section.clip_gradient_norm, error_if_nonfinite=False
            )
        optimizer.step()
        for name, term in terms.items():
            sums[name] = sums.get(name, torch.zeros_like(term)) + term.detach()
        training.progress(epoch * steps + step + 1, section.epochs * steps)
    means = {f"train_{name}": float(total) / steps for name, total in sums.items()}
    finite = all(bool(torch.isfinite(weight).all()) for weight in wrapped.parameters())
    if not finite or not np.isfinite(list(means.values())).all():
        what = "loss is" if finite else "weights are"
        raise StageFailed(
            f"the {what} not finite after epoch {epoch + 1} ({means})",
            remedy="Lower optimizer.lr, add schedule.warmup_epochs or clip_gradient_norm.",
        )
    return means


def _checkpoint(
    module: nn.Module, optimizer: Any, training: Training, epochs_done: int, lines: list[str]
) -> None:
    state = {
        "epochs_done": epochs_done,
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": lines,
    }
    temporary = training.scratch / f".{CHECKPOINT}.{os.getpid()}"
    torch.save(state, temporary)
    os.replace(temporary, training.scratch / CHECKPOINT)
    training.history.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _resume(module: nn.Module, optimizer: Any, training: Training) -> tuple[int, list[str]]:
    """Fill module and optimizer from the checkpoint; returns the first epoch to do and the history so far."""
    path = training.scratch / CHECKPOINT
    if not path.is_file():
        return 0, []
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    lines = list(state["history"])
    training.history.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(state["epochs_done"]), lines

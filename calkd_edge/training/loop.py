"""fit(): the epochs of a training, resumable after a kill with the same final weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from calkd_edge.errors import StageFailed
from calkd_edge.recipe.training import TrainingSection
from calkd_edge.training.averaging import WeightAverage
from calkd_edge.training.batch import Batch
from calkd_edge.training.batch_norm import convert_to_sync, synchronised
from calkd_edge.training.batch_norm_statistics import choose_statistics, measurable
from calkd_edge.training.checkpoint import State
from calkd_edge.training.feed import fed
from calkd_edge.training.fused_batch_norm import fused_batch_norm
from calkd_edge.training.kernels import quick_convolutions
from calkd_edge.training.memory import keep_freed_memory
from calkd_edge.training.schedule import learning_rate, optimizer_for
from calkd_edge.training.step_tensors import LossSums, StepNumbers

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MOST_MEASURED_IMAGES = 5_000
"""Images over which batch normalisation is measured, at most."""


@dataclass(frozen=True)
class Frozen:
    """Modules and weights that do not learn in the first epochs.

    Attributes:
        modules: their batch normalisation uses stored statistics, and their dropout is off.
        weights: are not updated.
    """

    modules: Sequence[nn.Module] = ()
    weights: Sequence[nn.Parameter] = ()


@dataclass(frozen=True)
class Training:
    """The settings and callbacks of `fit`.

    Attributes:
        section: epochs, images per step, optimizer, schedule.
        seed: of every random draw.
        steps_per_epoch: number of batches per epoch in each process.
        batches: (epoch, rank, world size) -> the batches of that process.
        watch: called after each epoch with its number; returns figures for the history. They decide nothing,
            but that `calibration_nll` chooses the statistics of batch normalisation.
        final_figures: of the final weights, for the last line of the history.
        plain_images: (rank, world size) -> training images of that process, in pieces, as they are when the
            network ships; batch normalisation is measured over them, and over as many as they were learnt.
        scratch: folder of the checkpoint; it survives a kill.
        history: file with one JSON line per epoch.
        progress: called with (steps done, total steps).
        model: the part of the module that ships and is averaged.
        frozen: the parts of the model that do not learn in the first `freeze_epochs`.
        freeze_epochs: number of these epochs.
        within: context manager around each epoch and its watch.
    """

    section: TrainingSection
    seed: int
    steps_per_epoch: int
    batches: Callable[[int, int, int], Iterable[Batch]]
    watch: Callable[[int], Mapping[str, float]]
    final_figures: Callable[[], Mapping[str, float]]
    plain_images: Callable[[int, int], Iterable[Tensor]]
    scratch: Path
    history: Path
    progress: Callable[[int, int], None]
    model: nn.Module
    frozen: Frozen = field(default_factory=Frozen)
    freeze_epochs: int = 0
    within: Callable[[], AbstractContextManager[None]] = nullcontext


def fit(module: nn.Module, training: Training, fabric: Fabric) -> None:
    """Train `module`, whose forward takes a Batch and returns named terms that sum to the loss.

    Each epoch starts by seeding torch from (seed, epoch) and ends with a checkpoint, written under a
    temporary name and renamed. A killed training resumes after the last complete epoch and ends with the same
    weights, bit for bit: on a CPU of the same kind, with the same threads and library versions; on CUDA, for
    the same model of GPU, driver and cuDNN too (not yet run on a GPU).

    Raises:
        StageFailed: the loss or a weight is not finite.
    """
    section = training.section
    is_shared = section.sync_batch_norm and fabric.world_size > 1
    is_shared_here = is_shared and fabric.device.type == "cpu"
    if is_shared and not is_shared_here:
        module, frozen = convert_to_sync(module, training.frozen.modules)
        training = replace(training, frozen=replace(training.frozen, modules=frozen))
    # On CPU, torch 2.14's DDP crashes in the backward pass of channels-last weights (of a 1x1 projection).
    if fabric.world_size == 1 or fabric.device.type == "cuda":
        module = module.to(memory_format=torch.channels_last)
    wrapped, optimizer = fabric.setup(
        module, optimizer_for(module, section.optimizer, training.frozen.weights)
    )
    average = None if section.ema_decay is None else WeightAverage(training.model, section.ema_decay)
    state = State(module, optimizer, average, fabric)
    first, lines = state.resume(training)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    # In several processes a CPU's maps are not channels last: there is nothing to fuse.
    is_alone = fabric.device.type == "cpu" and fabric.world_size == 1
    normalisation = synchronised if is_shared_here else fused_batch_norm if is_alone else nullcontext
    steps = _Steps(wrapped, optimizer, training, fabric, average)
    for epoch in range(first, section.epochs):
        draw = np.random.SeedSequence([training.seed, epoch, fabric.global_rank])
        torch.manual_seed(int(draw.generate_state(1)[0]))
        routes = quick_convolutions if fabric.device.type == "cpu" else nullcontext
        with routes(module), normalisation(module), training.within():
            terms = steps.epoch(epoch)
        if fabric.global_rank == 0:
            with average.applied() if average is not None else nullcontext(), training.within():
                watched = training.watch(epoch)
            lines.append(json.dumps({"epoch": epoch, **terms, **watched}))
            state.save(training, epoch + 1, lines)
        fabric.barrier()
    if average is not None:
        training.model.load_state_dict(average.average)
    figures: dict[str, float | str] = {}
    if section.measure_batch_norm:
        with synchronised(module) if is_shared_here else nullcontext():
            figures = _measured_batch_norm(training, fabric)
    if fabric.global_rank == 0:
        with training.within():
            figures |= training.final_figures()
        figures["steps"] = section.epochs * training.steps_per_epoch
        _rewrite_last(training.history, lines, figures)


def _measured_batch_norm(training: Training, fabric: Fabric) -> dict[str, float | str]:
    """Measure batch normalisation in the final weights; nothing where all of it was frozen."""
    always_frozen = training.frozen.modules if training.freeze_epochs >= training.section.epochs else ()
    norms = measurable(training.model, always_frozen)
    if not norms:
        return {}
    rank, world, device = fabric.global_rank, fabric.world_size, fabric.device
    steps = -(-MOST_MEASURED_IMAGES // training.section.images_per_step)

    def plain() -> Iterator[Tensor]:
        return (images.to(device) for images in training.plain_images(rank, world))

    def as_learnt() -> Iterator[Tensor]:
        source = training.batches(training.section.epochs - 1, rank, world)
        with closing(fed(source, device)) as batches:
            size = 0
            for batch in islice(batches, steps):
                size = size or len(batch.images)
                if len(batch.images) == size:  # a smaller last one would weigh as much as another
                    yield batch.images

    losses: dict[str, float] = {}

    def best(names: Sequence[str], put: Callable[[str], None]) -> str:
        for name in names if rank == 0 else ():
            put(name)
            with training.within():
                losses[name] = training.watch(-1)["calibration_nll"]
        return str(fabric.broadcast(min(losses, key=losses.__getitem__, default="")))

    sources = {"plain": plain, "as_learnt": as_learnt}
    figures = choose_statistics(training.model, norms, sources, best)
    figures |= {f"nll_{name}": loss for name, loss in losses.items()}
    return {f"batch_norm_{name}": value for name, value in figures.items()}


def _rewrite_last(history: Path, lines: Sequence[str], figures: Mapping[str, float | str]) -> None:
    """The history with the figures of the final weights in its last line.

    Former figures of the same name stay as `running_...`; `lines` are those of the checkpoint, so that a
    killed training that does this again writes the same.
    """
    last = json.loads(lines[-1])
    former = {f"running_{name}": last[name] for name in figures if name in last}
    history.write_text(
        "\n".join([*lines[:-1], json.dumps({**last, **former, **figures})]) + "\n", encoding="utf-8"
    )


class _Steps:
    """The steps of a training, epoch by epoch."""

    def __init__(
        self,
        wrapped: nn.Module,
        optimizer: torch.optim.Optimizer,
        training: Training,
        fabric: Fabric,
        average: WeightAverage | None,
    ) -> None:
        self.wrapped, self.optimizer = wrapped, optimizer
        self.training, self.fabric, self.average = training, fabric, average
        self.numbers, self.sums = StepNumbers(fabric.device), LossSums()

    def epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the batches; returns each term's mean.

        Raises:
            StageFailed: a term's mean or a weight is not finite. This is checked once per epoch, because a
                check in each step would make a GPU wait.
        """
        training, steps = self.training, self.training.steps_per_epoch
        self.sums.clear()
        skipped = 0
        self.wrapped.train()
        frozen = training.frozen if epoch < training.freeze_epochs else Frozen()
        for module in frozen.modules:
            module.eval()
        source = training.batches(epoch, self.fabric.global_rank, self.fabric.world_size)
        with closing(fed(source, self.fabric.device)) as batches:
            for step, batch in enumerate(batches):
                self._set_rate(epoch + step / steps)
                skipped += self._step(batch, frozen)
                training.progress(epoch * steps + step + 1, training.section.epochs * steps)
        if skipped == steps:
            raise StageFailed(
                f"no step of epoch {epoch + 1} had finite gradients in float16",
                remedy="Set autocast: bf16 or null, or lower optimizer.lr.",
            )
        return self._means(epoch, steps - skipped)

    def _set_rate(self, at: float) -> None:
        section = self.training.section
        rate = learning_rate(section.optimizer.lr, section.schedule, epoch=at, epochs=section.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]

    def _step(self, batch: Batch, frozen: Frozen) -> bool:
        """Train on a batch; returns whether it changed nothing, because float16 overflowed."""
        fabric, norm = self.fabric, self.training.section.clip_gradient_norm
        terms: dict[str, Tensor] = self.wrapped(batch.with_numbers(self.numbers))
        stacked = torch.stack(list(terms.values()))
        self.optimizer.zero_grad()
        fabric.backward(stacked.sum())
        for weight in frozen.weights:  # not by requires_grad: DDP must see the same parameters throughout
            weight.grad = None
        if norm is not None:
            fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=norm, error_if_nonfinite=False)
        self.optimizer.step()
        if getattr(fabric.strategy.precision, "has_skipped", False):
            return True
        if self.average is not None:
            self.average.update()
        self.sums.add(terms, stacked)
        return False

    def _means(self, epoch: int, counted: int) -> dict[str, float]:
        """The mean of each term over so many steps and all processes; weights are checked as well.

        Weights are checked because no loss shows the last gradient.
        """
        assert self.sums.totals is not None
        totals = self.fabric.all_reduce(self.sums.totals.float())
        means = {
            f"train_{name}": float(total) / counted
            for name, total in zip(self.sums.names, totals, strict=True)
        }
        buffers = self.training.model.buffers()  # a running variance can overflow
        finite = are_finite([*self.wrapped.parameters(), *buffers])
        if not finite or not np.isfinite(list(means.values())).all():
            what = "loss is" if finite else "weights are"
            raise StageFailed(
                f"the {what} not finite after epoch {epoch + 1} ({means})",
                remedy="Lower optimizer.lr, add schedule.warmup_epochs or clip_gradient_norm.",
            )
        return means


@torch.no_grad()
def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether every value of the floating-point tensors is finite; a GPU is waited for once."""
    floats = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not floats:
        return True
    return bool(torch.stack(torch._foreach_norm(floats, float("inf"))).isfinite().all())

"""Train a small network in two processes, over gloo, and record what each came to.

torchrun --standalone --nproc-per-node 2 data_parallel.py FOLDER MODE

MODE is settings (our settings of DDP, then torch's defaults) or apart (each rank has a scratch of its own).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn
from torch.nn import functional as F

from calkd_edge.errors import EnvironmentProblem
from calkd_edge.recipe.training import OptimizerSection, TrainingSection
from calkd_edge.training import accelerator
from calkd_edge.training.batch import Batch
from calkd_edge.training.loop import Frozen, Training, fit

STEPS, SIZE = 4, 8


class OfPixels(nn.Sequential):
    """A network of uint8 images."""

    def forward(self, images):
        return super().forward(images.float() / 255)


class Net(nn.Module):
    """Layers with buffers that differ between processes (batch normalisation), and one that is equal."""

    def __init__(self):
        super().__init__()
        self.net = OfPixels(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
        self.bank = nn.Buffer(torch.zeros(4))

    def forward(self, batch):
        logits = self.net(batch.images)
        self.bank.copy_(0.9 * self.bank + 0.1)
        return {"loss": F.cross_entropy(logits + self.bank, batch.labels)}


def batches(epoch, rank, world):
    generator = np.random.default_rng([epoch, rank])
    for step in range(STEPS):
        images = torch.from_numpy(generator.integers(0, 256, (SIZE, 3, 8, 8), dtype=np.uint8))
        labels = torch.from_numpy(generator.integers(0, 4, SIZE))
        yield Batch(images, labels, torch.arange(SIZE), epoch + step / STEPS)


def plain_images(rank, world):
    return (batch.images for batch in batches(9, rank, world))


def train(fabric, scratch: Path, *, shared: bool, epochs: int = 3) -> dict[str, torch.Tensor]:
    scratch.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    module = Net()
    training = Training(
        section=TrainingSection(
            epochs=epochs,
            images_per_step=SIZE,
            optimizer=OptimizerSection(lr=0.05),
            sync_batch_norm=shared,
            ema_decay=0.8,
        ),
        seed=3,
        steps_per_epoch=STEPS,
        batches=batches,
        watch=lambda epoch: {"calibration_nll": 0.0},
        final_figures=dict,
        plain_images=plain_images,
        scratch=scratch,
        history=scratch / "history.jsonl",
        progress=lambda done, total: None,
        model=module.net,
        frozen=Frozen(module.net[:1], list(module.net[:1].parameters())),
        freeze_epochs=1,
    )
    fit(module, training, fabric)
    return module.state_dict()


def settings(folder: Path) -> dict[str, bool]:
    """Whether our settings give what torch's defaults give, bit for bit, for each kind of normalisation."""
    equal = {}
    fabric = accelerator.fabric_for("cpu")
    for shared in (True, False):
        ours = train(fabric, folder / f"ours-{shared}", shared=shared)
        strategy = fabric.strategy
        strategy._ddp_kwargs, kept = {}, strategy._ddp_kwargs
        assert isinstance(strategy, DDPStrategy)
        assert sorted(kept.values()) == [False, True]
        theirs = train(fabric, folder / f"theirs-{shared}", shared=shared)
        strategy._ddp_kwargs = kept
        equal[f"shared {shared}"] = all(torch.equal(ours[name], theirs[name]) for name in theirs)
    return equal


def apart(folder: Path) -> str:
    """What a rank raises that does not see the checkpoint of rank 0."""
    fabric = accelerator.fabric_for("cpu")
    scratch = folder / f"scratch-{fabric.global_rank}"
    train(fabric, scratch, shared=True, epochs=2)
    try:
        train(fabric, scratch, shared=True)
    except EnvironmentProblem as problem:
        return problem.message
    return "nothing"


if __name__ == "__main__":
    place = Path(sys.argv[1])
    result = {"settings": settings, "apart": apart}[sys.argv[2]](place)
    rank = torch.distributed.get_rank()
    (place / f"result-{rank}.json").write_text(json.dumps(result))

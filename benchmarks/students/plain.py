"""What a user would write instead: the student's network on labels alone, by torch and torchvision or timm.

AdamW at 2e-3 with weight decay 0.02 and a one-cycle rate, 32 images a step, random crops of at least half of
the area, the running statistics as training leaves them. It reads the images of a prepared folder, so that it
trains on the same images as the recipe, and answers the same test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from calkd_edge.data.prepared import Prepared
from calkd_edge.models import MODELS
from calkd_edge.models.checkpoint import fill, read_state
from calkd_edge.models.head import head_names

IMAGES_PER_STEP, RATE, DECAY = 32, 2.0e-3, 0.02
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Rows of a prepared folder behind torchvision's transforms."""

    def __init__(self, prepared: Prepared, split: str, transform: transforms.Compose) -> None:
        self.prepared, self.rows, self.transform = prepared, prepared.indices(split), transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        row = self.rows[index]
        image = np.ascontiguousarray(self.prepared.images[row].transpose(1, 2, 0))
        return self.transform(image), int(self.prepared.labels[row])


def network(name: str, settings: dict[str, object], prepared: Prepared) -> nn.Module:
    """The student's network for [N, 3, H, W] in normalised values, from random weights."""
    built: nn.Module = MODELS.load(name)(len(prepared.classes), prepared.image_shape, **settings)
    return built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def pretrained(architecture: str, weights: Path, prepared: Prepared) -> nn.Module:
    """One of timm's networks from a file of its weights, with a new head."""
    settings, classes = {"architecture": architecture}, len(prepared.classes)
    net: nn.Module = MODELS.load("timm")(classes, prepared.image_shape, **settings)
    head = head_names("timm", settings, classes, prepared.image_shape)
    fill(net, read_state(weights, "weights"), "weights", head)
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def train(
    net: nn.Module,
    prepared: Prepared,
    *,
    epochs: int,
    seed: int,
    flip: bool,
    rate: float = RATE,
    normalised: tuple[Sequence[float], Sequence[float]] = (MEAN, STD),
) -> np.ndarray:
    """Train it, and answer the test images: [N] bool, which answers are right.

    Args:
        net: changed in place.
        prepared: the images.
        epochs: over the train split.
        seed: of order and crops.
        flip: whether images are mirrored.
        rate: the highest learning rate.
        normalised: mean and standard deviation by channel that images are normalised with.
    """
    torch.manual_seed(seed)
    size = prepared.image_shape[1]
    mirror = [transforms.RandomHorizontalFlip()] if flip else []
    crops = [transforms.ToPILImage(), transforms.RandomResizedCrop(size, scale=(0.5, 1)), *mirror]
    ends = [transforms.ToTensor(), transforms.Normalize(*normalised)]
    train_set = Images(prepared, "train", transforms.Compose([*crops, *ends]))
    test_set = Images(prepared, "test", transforms.Compose(ends))
    loader = DataLoader(train_set, IMAGES_PER_STEP, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * len(loader), pct_start=0.15
    )
    for _ in range(epochs):
        net.train()
        for images, labels in loader:
            answers = net(images.to(memory_format=torch.channels_last))
            loss = nn.functional.cross_entropy(answers, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        rows = [net(images).argmax(1) == labels for images, labels in DataLoader(test_set, 100)]
    return torch.cat(rows).numpy()

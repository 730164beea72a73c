"""What training stages share: the batches of an epoch, figures after each epoch, a model's description."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from calkd_edge.data import AUGMENTATIONS, MIXINGS
from calkd_edge.data.augment import Augmentation, CropPad, NoAugmentation, ResizedCrop
from calkd_edge.data.loader import balanced, batches, epoch_order
from calkd_edge.data.mixing import Mixing
from calkd_edge.data.prepared import Prepared
from calkd_edge.errors import RecipeError
from calkd_edge.models.image_model import ImageModel, ModelDescription
from calkd_edge.records import Component, IntArray
from calkd_edge.records.base import SMALLEST_STD
from calkd_edge.stages.params import EpochParams
from calkd_edge.training.batch import Batch
from calkd_edge.training.loop import MOST_MEASURED_IMAGES
from calkd_edge.training.resident import Draw, ResidentImages, is_resident, resident_bytes
from calkd_edge.training.step_memory import free_bytes

WATCHED_IMAGES = 1000
FEWEST_IMAGES = 2
"""In a step of one process: batch normalisation cannot train on a single value per channel."""
_FRESH_VIEWS, _MIXING = 0xF5, 0x31
"""Keep the draws of fresh views and of mixing apart from others that are seeded with the same numbers."""


@dataclass(frozen=True)
class Epochs:
    """Batches of augmented training images, the same for the same seed and epoch.

    Attributes:
        prepared: the data.
        rows: positions of the train split in the prepared images.
        images_per_step: over all processes.
        seed: of the order and of the draws.
        augmentation: of each image.
        mixing: combines two images into one; None leaves them apart.
        is_balanced: each class is drawn equally often.
        plain_is_balanced: so are the plain images, over which batch normalisation is measured.
        defers: batches are augmented only where they are moved to, if the augmentation gives the same pixels
            everywhere.
        resident: the images on the device that trains, if they lie there; used where batches are deferred.
    """

    prepared: Prepared
    rows: IntArray
    images_per_step: int
    seed: int
    augmentation: Augmentation
    mixing: Mixing | None = None
    is_balanced: bool = False
    plain_is_balanced: bool = False
    defers: bool = False
    resident: ResidentImages | None = None

    @classmethod
    def of(
        cls, prepared: Prepared, images_per_step: int, params: EpochParams, *, defers: bool = False
    ) -> Epochs:
        """Batches of a prepared folder's train split, as a training stage's parameters define them."""
        augmentation = augmentation_of(params.augmentation, prepared)
        chosen = params.mixing
        mixing = None if chosen is None else MIXINGS.load(chosen.name)(**chosen.settings)
        rows = prepared.indices("train")
        return cls(
            prepared,
            rows,
            images_per_step,
            params.seed,
            augmentation,
            mixing,
            is_balanced=params.balance == "sampler",
            plain_is_balanced=params.batch_norm == "drawn_images",
            defers=defers,
        )

    def steps(self, world_size: int) -> int:
        """Steps in one epoch; the same on every process.

        Raises:
            RecipeError: too few images in a step for so many processes.
        """
        if self.images_per_step // world_size < FEWEST_IMAGES:
            raise RecipeError(
                f"images_per_step: {self.images_per_step} leaves a process of {world_size} fewer than "
                f"{FEWEST_IMAGES} images, which batch normalisation needs",
                remedy="Raise images_per_step, or start fewer processes.",
            )
        complete, rest = divmod(len(self.rows), self.images_per_step)
        return complete + (rest // world_size >= FEWEST_IMAGES)

    def order(self, epoch: int, rank: int, world_size: int) -> Iterator[IntArray]:
        """Positions in the train split, batch by batch, for one process."""
        return (piece[share] for piece, share in self._shares(epoch, rank, world_size))

    def _shares(self, epoch: int, rank: int, world_size: int) -> Iterator[tuple[IntArray, slice]]:
        """Each step's images, the same for any number of processes, and the share of this process.

        The shares are equal, so that the mean over processes is the mean over images; up to world_size - 1
        images of a step are left out for it.
        """
        order = epoch_order(len(self.rows), seed=self.seed, epoch=epoch)
        if self.is_balanced:
            order = balanced(order, self.prepared.labels[self.rows], seed=self.seed, epoch=epoch)
        for piece in batches(order, self.images_per_step):
            share = len(piece) // world_size
            if share >= FEWEST_IMAGES:
                yield piece, slice(rank * share, (rank + 1) * share)

    @property
    def is_deferred(self) -> bool:
        """Whether batches are augmented only where they are moved to."""
        return self.defers and self.mixing is None and is_exact(self.augmentation)

    def needed_bytes(self, classes: int = 0) -> int:
        """Of a device on which the images would lie, with a view's logits of so many classes."""
        return resident_bytes(len(self.rows), self.prepared.image_shape, classes)

    def fresh(self, epoch: int, rank: int, world_size: int) -> Iterator[Batch]:
        """Batches whose views are drawn again in each epoch, the same for any number of processes.

        Mixed images take their partners from their own process' share.
        """
        draws = self._draws(epoch, rank, world_size)
        if self.resident is not None:
            yield from self.resident.batches(list(draws), self.augmentation.replay)
            return
        for step, (chosen, view, at) in enumerate(draws):
            batch = self.batch(chosen, view, at, None)
            if self.mixing is not None:
                batch = _mixed(batch, self.mixing, np.random.default_rng([self.seed, epoch, step, _MIXING]))
            yield batch

    def _draws(self, epoch: int, rank: int, world_size: int) -> Iterator[Draw]:
        generator = np.random.default_rng([self.seed, epoch, 0, _FRESH_VIEWS])
        for step, (piece, share) in enumerate(self._shares(epoch, rank, world_size)):
            drawn = self.augmentation.draw(len(piece), generator)
            view = {name: drawn[name][share] for name in self.augmentation.columns}
            yield Draw(piece[share], view, epoch + step / self.steps(world_size))

    def plain_images(self, rank: int, world_size: int) -> Iterator[Tensor]:
        """Up to 5,000 training images as they are, this process' share of each step, uint8 [B, 3, H, W].

        A last step that is not full is left out, because it would weigh as much as another. With
        `plain_is_balanced` they are the images of the first epoch: a network that only met classes in equal
        numbers loses several points of top-1 with the statistics of unequal ones.
        """
        most = -(-MOST_MEASURED_IMAGES // self.images_per_step)
        as_they_are = replace(self, is_balanced=self.plain_is_balanced)
        for step, (piece, share) in enumerate(islice(as_they_are._shares(0, rank, world_size), most)):
            if step and len(piece) < self.images_per_step:
                return
            yield torch.from_numpy(self.prepared.images[self.rows[piece[share]]])

    def batch(
        self, chosen: IntArray, view: Mapping[str, np.ndarray], at: float, teacher_logits: Tensor | None
    ) -> Batch:
        """The chosen positions of the train split, replayed through a view."""
        rows = self.rows[chosen]
        images = torch.from_numpy(self.prepared.images[rows])
        labels = torch.from_numpy(self.prepared.labels[rows])
        batch = Batch(images, labels, torch.from_numpy(chosen), at, teacher_logits)
        if self.is_deferred:
            columns = {name: torch.from_numpy(np.array(column)) for name, column in view.items()}
            return replace(batch, replay=self.augmentation.replay, view=columns)
        return replace(batch, images=self.augmentation.replay(images, view))


def _mixed(batch: Batch, mixing: Mixing, generator: np.random.Generator) -> Batch:
    images, partners, share = mixing.mix(batch.images, generator)
    return replace(batch, images=images, other_labels=batch.labels[partners], share=share)


def with_resident_images(epochs: Epochs, device: torch.device, *, classes: int = 0) -> Epochs:
    """The same batches, from images that lie on the device if these and a view's logits fit there.

    Args:
        epochs: whose batches can be finished on the device, or not.
        device: that trains.
        classes: of the stored logits; 0 without them.
    """
    if device.type != "cuda":
        return epochs
    chosen = is_resident(
        device,
        is_exact=epochs.is_deferred,
        needed_bytes=epochs.needed_bytes(classes),
        free_bytes=free_bytes(device.type),
    )
    if not chosen:
        return epochs
    return replace(epochs, resident=ResidentImages(epochs.prepared, epochs.rows, device))


def augmentation_of(chosen: Component, prepared: Prepared) -> Augmentation:
    """The augmentation of that name, for a prepared folder's images."""
    augmentation: Augmentation = AUGMENTATIONS.load(chosen.name)(prepared.image_shape, **chosen.settings)
    return augmentation


def is_exact(augmentation: Augmentation) -> bool:
    """Whether an augmentation computes in integers alone, and so the same pixels on a GPU as on a CPU."""
    return type(augmentation) in (NoAugmentation, CropPad, ResizedCrop)


def replayed_on(
    device: torch.device, augmentation: Augmentation, images: Tensor, view: Mapping[str, np.ndarray]
) -> Tensor:
    """Images [B, 3, H, W] uint8 in their view, on a device; augmented there if that gives the same pixels."""
    if is_exact(augmentation):
        return augmentation.replay(images.to(device), view)
    return augmentation.replay(images, view).to(device)


def watcher(model: ImageModel, prepared: Prepared) -> Callable[[int], dict[str, float]]:
    """NLL and top-1 on up to 1,000 images of the calibration split: for the history, never for a decision."""
    images, labels, _ = prepared.arrays("calibration", WATCHED_IMAGES)

    def watch(epoch: int) -> dict[str, float]:
        nll, top1 = _scores(model, images, labels)
        return {"calibration_nll": nll, "calibration_top1": top1}

    return watch


def final_figures(model: ImageModel, prepared: Prepared) -> Callable[[], dict[str, float]]:
    """What `watcher` gives, and top-1 on as many training images and on mirrored calibration images.

    Training images that are answered much better than others mean that there are too few of them; mirrored
    ones that are answered much worse mean that left and right matter.
    """
    watch = watcher(model, prepared)
    images, labels, _ = prepared.arrays("calibration", WATCHED_IMAGES)
    seen, their_labels, _ = prepared.arrays("train", WATCHED_IMAGES)

    def figures() -> dict[str, float]:
        return {
            **watch(-1),
            "training_top1": _scores(model, seen, their_labels)[1],
            "calibration_top1_mirrored": _scores(model, images[..., ::-1], labels)[1],
        }

    return figures


@torch.no_grad()
def _scores(model: ImageModel, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean NLL in nats and top-1 of uint8 images [N, 3, H, W]."""
    model.eval()
    device, losses, hits = model.mean.device, 0.0, 0
    for start in range(0, len(images), 250):
        batch = torch.from_numpy(np.ascontiguousarray(images[start : start + 250])).to(device)
        expected = torch.from_numpy(labels[start : start + 250]).to(device)
        logits = model(batch).float()
        losses += float(torch.nn.functional.cross_entropy(logits, expected, reduction="sum"))
        hits += int((logits.argmax(1) == expected).sum())
    return losses / len(images), hits / len(images)


def description_of(model: Component, prepared: Prepared, trained_on: str) -> ModelDescription:
    """A model's description, with the normalisation taken from the train split."""
    mean, std = prepared.mean_std(prepared.indices("train"))
    return ModelDescription(
        name=model.name,
        settings=model.settings,
        classes=prepared.classes,
        image_shape=prepared.image_shape,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, np.where(std < SMALLEST_STD, 1.0, std))),  # a channel of one value
        trained_on=trained_on,
        input_note=prepared.notes["input_note"],
        license=prepared.notes["license"],
    )

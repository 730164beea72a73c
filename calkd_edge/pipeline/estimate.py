"""The time and the disk space that a plan needs, before it runs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from calkd_edge.data.prepare import TEST_SHARE, needed_bytes
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files import nearest_existing
from calkd_edge.files.environment import naming_lack_of_memory
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.data_checks import outline_of
from calkd_edge.pipeline.planned import Plan
from calkd_edge.recipe.training import TrainingSection
from calkd_edge.records import Component
from calkd_edge.stages.top_logits import bytes_per_row

if TYPE_CHECKING:
    import torch

    from calkd_edge.training.batch import Batch

MARGIN_BYTES = 500 * 2**20
COPIES = 2
"""Of each soft label on the disk: also in scratch, so that a killed pass continues with the next piece."""

FORWARD_SHARE = 1 / 3
"""Of a training step: its backward pass costs twice its forward pass."""

LONG_S = 600
OTHER_STAGE_S = 1.7
"""Of a stage that exports, predicts or times: the mean of the quickstart's 34, not timed beforehand
(benchmarks/house/quickstart.json)."""


def training_seconds(plan: Plan, reused: Collection[str], accelerator: str) -> float:
    """Seconds of the trainings and teacher passes that are still to do, timed on a few steps.

    Args:
        plan: of the run.
        reused: fingerprints of the stages that need not run.
        accelerator: auto, cpu or cuda.
    """
    checked, recipe = plan.checked, plan.checked.recipe
    images, shape = train_images(checked), checked.dataset.size()[1]
    teaches_live = checked.teacher_mode == "live" and not checked.teacher_is_file
    stored = [stage for stage in plan.stages if stage.name == "soft-labels"]
    passes = recipe.distill.views if any(stage.fingerprint not in reused for stage in stored) else 0
    total = 0.0
    for training in plan.trainings:
        if training.stage.fingerprint not in reused:
            seconds = _seconds_per_image(
                training.model,
                training.section.images_per_step,
                shape,
                accelerator,
                training.section.autocast,
                partial(_trial_batches, checked, training.section, images),
            )
            watched = _watched_images(training.section, images, recipe.data.calibration_images)
            total += seconds * (training.section.epochs * images + FORWARD_SHARE * watched)
            if training.stage is not plan.teacher and teaches_live:
                passes += training.section.epochs
    if passes and not checked.teacher_is_file:
        per_image = _seconds_per_image(checked.teacher, recipe.distill.images_per_step, shape, accelerator)
        total += passes * images * FORWARD_SHARE * per_image
    return total


def _watched_images(section: TrainingSection, train_images: int, calibration_images: int) -> int:
    """Images that a training only looks at: after each epoch, and in the final weights."""
    # Imported here: short and cached runs need none of it.
    from calkd_edge.stages.epochs import WATCHED_IMAGES
    from calkd_edge.training.loop import MOST_MEASURED_IMAGES

    watched = min(calibration_images, WATCHED_IMAGES)
    final = 2 * watched + min(train_images, WATCHED_IMAGES)
    measured = 2 * min(train_images, MOST_MEASURED_IMAGES) + 3 * watched
    return section.epochs * watched + final + section.measure_batch_norm * measured


def train_images(checked: CheckedRecipe) -> int:
    """Images that a training sees in an epoch: without those of the other splits, where that is known."""
    data, outline = checked.recipe.data, outline_of(checked)
    if outline is None:
        images = checked.dataset.size()[0]
    else:
        images = int((~outline.official_test).sum()) - data.calibration_images
        if not outline.official_test.any():
            images -= len(outline.labels) // TEST_SHARE if data.test_images is None else data.test_images
    return min(data.train_images or images, images)


def _trial_batches(
    checked: CheckedRecipe, section: TrainingSection, images: int, device: torch.device
) -> Iterator[Batch]:
    """Batches as those of a training."""
    from calkd_edge.stages.trial_batches import trial_batches

    shape = checked.dataset.size()[1]
    return trial_batches(section, checked.augmentation, shape, images, device)


def _seconds_per_image(
    component: Component,
    images_per_step: int,
    shape: tuple[int, int, int],
    accelerator: str,
    autocast: str | None = None,
    feed: Callable[[torch.device], Iterator[Batch]] | None = None,
) -> float:
    """Seconds of a training step, for each of its images; on a GPU with the batches of a feed, if given.

    On a GPU the step alone says little: it may wait for its batches.
    """
    # Imported here: short and cached runs need none of it.
    import torch

    from calkd_edge.models import MODELS
    from calkd_edge.models.image_model import ImageModel
    from calkd_edge.training.step_time import seconds_per_fed_step, seconds_per_step

    backbone = MODELS.load(component.name)(1000, shape, **component.settings)
    device = torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    model = ImageModel(backbone, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    smaller = f"Set images_per_step below {images_per_step:,}, or shrink the images."
    with naming_lack_of_memory(f"a trial step of {component.name} with {images_per_step:,} images", smaller):
        if feed is not None and device.type == "cuda":
            seconds = seconds_per_fed_step(model, feed(device), device, autocast=autocast)
        else:
            seconds = seconds_per_step(model, shape, images_per_step, device, autocast=autocast)
    if device.type == "cuda":  # the processes of the training need that memory
        del model, backbone
        torch.cuda.empty_cache()
    return seconds / images_per_step


def sentence(plan: Plan, reused: Collection[str], accelerator: str) -> str:
    """The expected time of what is still to do, in words; the arguments are those of `training_seconds`."""
    others = sum(stage.fingerprint not in reused for stage in plan.stages)
    length = in_words(training_seconds(plan, reused, accelerator) + others * OTHER_STAGE_S)
    return f"Expected time: about {length} on this machine; a run that is cut continues when it is repeated."


def in_words(seconds: float) -> str:
    """A length of time; below ten minutes to the half minute, since a whole one may be a third of it."""
    if seconds < LONG_S:
        return f"{max(1, round(seconds / 30)) / 2:g} min"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def check_disk(plan: Plan, folder: Path, reused: Collection[str]) -> None:
    """Check the disk space for the prepared images, and for the soft labels where the outline is known.

    Args:
        plan: of the run.
        folder: of the store; need not exist yet.
        reused: fingerprints of the stages that are published.

    Raises:
        EnvironmentProblem: the files still to be written need more space than is free.
    """
    checked = plan.checked
    needed = 0
    if plan.data.fingerprint not in reused:
        needed += needed_bytes(*checked.dataset.size())
    outline = outline_of(checked)
    stored = [stage for stage in plan.stages if stage.name == "soft-labels"]
    if outline is not None and any(stage.fingerprint not in reused for stage in stored):
        distill = checked.recipe.distill
        row = bytes_per_row(len(outline.classes), distill.soft_labels.top)
        needed += COPIES * distill.views * train_images(checked) * row
    free = shutil.disk_usage(nearest_existing(folder)).free
    if needed and (least := needed + MARGIN_BYTES) > free:
        raise EnvironmentProblem(
            f"the store {folder} may need {least / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free",
            remedy="Free space, use another disk (--store DIR), or lower distill.soft_labels.views or .top.",
        )

"""The time and the disk space that a plan needs, before it runs."""

from __future__ import annotations

import shutil

from calkd_edge.data.prepare import needed_bytes
from calkd_edge.data.prepared import Prepared
from calkd_edge.engine.store import Store
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.pipeline.planned import Plan
from calkd_edge.records import Component

MARGIN_BYTES = 500 * 2**20
WORTH_TIMING = 150_000
"""Images times epochs below which a training is not worth timing beforehand."""

BYTES_PER_LOGIT = 2
"""float16. Each view is written twice, once into scratch, so that a killed pass continues with the next."""

WORTH_TELLING_S = 600.0
OTHER_STAGES_S = 120.0


def training_seconds(plan: Plan, store: Store, accelerator: str) -> float:
    """Seconds of the trainings that are still to do, timed on a few steps; 0 when they are short."""
    recipe = plan.checked.recipe
    images, shape = plan.checked.dataset.size()
    images = min(recipe.data.train_images or images, images)
    total = 0.0
    for training in plan.trainings:
        section = training.section
        if images * section.epochs < WORTH_TIMING or store.published(training.stage) is not None:
            continue
        step = _seconds_per_step(training.model, section.images_per_step, shape, accelerator)
        total += step * section.epochs * images / section.images_per_step
    return total


def _seconds_per_step(
    component: Component, images_per_step: int, shape: tuple[int, int, int], accelerator: str
) -> float:
    # Imported here: short and cached runs need none of it.
    import torch

    from calkd_edge.models import MODELS
    from calkd_edge.models.image_model import ImageModel
    from calkd_edge.training.step_time import seconds_per_step

    backbone = MODELS.load(component.name)(1000, shape, **component.settings)
    device = torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    model = ImageModel(backbone, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return seconds_per_step(model, shape, images_per_step, device)


def sentence(seconds: float) -> str | None:
    """The expected time of a run of over ten minutes, in words; None for shorter runs."""
    total = seconds + OTHER_STAGES_S
    if seconds == 0 or total < WORTH_TELLING_S:
        return None
    hours, minutes = divmod(round(total / 60), 60)
    length = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    return f"Expected time: about {length} on this machine; a run that is cut continues when it is repeated."


def check_disk(plan: Plan, store: Store) -> None:
    """Check the disk space for the prepared images, and after them for the soft labels.

    Raises:
        EnvironmentProblem: the files still to be written need more space than is free.
    """
    recipe = plan.checked.recipe
    data = store.published(plan.data)
    if data is None:
        needed = needed_bytes(*plan.checked.dataset.size())
    elif any(stage.name == "soft-labels" and store.published(stage) is None for stage in plan.stages):
        prepared = Prepared.open(data)
        numbers = len(prepared.indices("train")) * len(prepared.classes)
        needed = 2 * recipe.distill.views * numbers * BYTES_PER_LOGIT
    else:
        return
    free = shutil.disk_usage(store.root).free
    if needed + MARGIN_BYTES > free:
        raise EnvironmentProblem(
            f"the store {store.root} may need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            remedy="Free space, use another disk (--store DIR), or lower distill.soft_labels.views.",
        )

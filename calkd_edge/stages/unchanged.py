"""Whether what the plan identified by its content is what a stage reads, minutes or days later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from calkd_edge.data import DATASETS
from calkd_edge.data.source import Dataset
from calkd_edge.engine.stage import Job
from calkd_edge.errors import StageFailed
from calkd_edge.stages.params import PrepareParams, PrepareUnknownParams


@contextmanager
def unchanged(what: str, planned: str, identity: Callable[[], str]) -> Iterator[None]:
    """Compare the identity with the plan's before the body and after it.

    Raises:
        StageFailed: it differs, so that a result would be published as that of other files.
    """
    _check(what, planned, identity)
    yield
    _check(what, planned, identity)


def _check(what: str, planned: str, identity: Callable[[], str]) -> None:
    if identity() != planned:
        raise StageFailed(
            f"{what} changed since the plan",
            remedy="Run again when nothing writes there any more: the next plan takes what is there then.",
        )


@contextmanager
def unchanged_dataset(job: Job, params: PrepareParams | PrepareUnknownParams, key: str) -> Iterator[Dataset]:
    """The data set that a stage reads, compared before and after.

    Args:
        job: its locations hold the data set's root.
        params: its name, settings and identity.
        key: of the recipe, for messages.

    Raises:
        StageFailed: it is not that of the plan.
    """
    root = None if job.locations["root"] is None else Path(job.locations["root"])
    made = partial(DATASETS.load(params.dataset), root, **params.settings)
    what = f"{key}: the data set {params.dataset}" + ("" if root is None else f" in {root}")
    dataset: Dataset = made()
    with unchanged(what, params.identity, lambda: made().identity()):
        yield dataset

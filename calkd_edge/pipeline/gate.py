"""gate: the verdict on a finished release again, under other gates or against another release."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.pipeline.baseline import earlier_release
from calkd_edge.recipe.schema import Recipe, load_recipe
from calkd_edge.records import Report
from calkd_edge.release.contents import SCORES
from calkd_edge.release.earlier import ReadRelease, read_release
from calkd_edge.release.gates.validation import check_gates
from calkd_edge.release.judgement import judged_again


def gate(
    release: str | Path, *, baseline: str | Path | None = None, recipe: str | Path | Recipe | None = None
) -> Report:
    """Judge a finished release again from what it kept; nothing is measured, and no file is written.

    Args:
        release: the folder of a finished run, or a bundle.zip.
        baseline: the folder or bundle of an earlier release, which gates `..._from_baseline` compare with;
            "none" where there is none.
        recipe: takes its gates instead of those of the release's own recipe.

    Returns:
        The report with its verdict, gates, recommendation and comparison as they are now.

    Raises:
        RecipeError: the release is damaged, or a gate cannot be judged from what it kept.
        EnvironmentProblem: the release was written before scores were kept.

    Example:
        >>> import tempfile
        >>> from calkd_edge import RecipeError
        >>> try:
        ...     gate(tempfile.mkdtemp())
        ... except RecipeError as problem:
        ...     print(problem.message.split(" is ")[1][:16])
        no sound release
    """
    read = read_release(Path(release))
    if read.scores is None:
        raise EnvironmentProblem(
            f"{release} kept no {SCORES}: it was written before releases kept the scores of their images",
            remedy="Run its recipe again with compress: stages that are in the store are not repeated.",
        )
    judging = _recorded_recipe(read)
    where = f"recipe of {release}"
    if recipe is not None:
        other = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        where = f"recipe {other.name}" if isinstance(recipe, Recipe) else str(recipe)
        judging = judging.model_copy(update={"gates": other.gates})
    measured = {m.precision for m in read.report.measurements}
    check_gates(
        judging.gates,
        precisions=measured,
        devices=judging.devices,
        classes=read.classes or None,
        where=where,
    )
    earlier = earlier_release(judging, where, baseline, smoke=read.report.verdict == "smoke")
    return judged_again(read, read.scores, judging, earlier)


def _recorded_recipe(read: ReadRelease) -> Recipe:
    try:
        return Recipe.model_validate(read.report.recipe)
    except ValidationError as wrong:
        key = ".".join(map(str, wrong.errors()[0]["loc"]))
        raise RecipeError(
            f"{read.path}: the recipe in its report cannot be read: {key}: {wrong.errors()[0]['msg']}",
            remedy="Judge it with the version of this package that wrote it, or run its recipe again.",
        ) from wrong

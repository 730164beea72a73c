"""Which earlier release a run or a finished release is compared with."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.errors import RecipeError
from calkd_edge.files.paths import named_folder
from calkd_edge.recipe.schema import Recipe
from calkd_edge.release.earlier import ReadRelease, read_release
from calkd_edge.release.gates.metrics import compares_releases

NO_BASELINE = "none"
"""Value of --baseline for a first release: gates against an earlier one judge nothing."""


def earlier_release(
    recipe: Recipe, where: str, baseline: str | Path | None, *, smoke: bool, out: Path | None = None
) -> ReadRelease | None:
    """The earlier release to compare with; None where there is none.

    Args:
        recipe: its gates may need one.
        where: the recipe is from.
        baseline: the release, NO_BASELINE, or None where nothing was named.
        smoke: whether the run is a smoke run.
        out: the folder whose release the run replaces; None where nothing is run.

    Raises:
        RecipeError: it cannot be read, lies in `out`, or a gate needs one and none is named.
    """
    if baseline is not None and str(baseline) != NO_BASELINE:
        if out is not None and Path(baseline).resolve().is_relative_to(out.resolve()):
            raise RecipeError(
                f"--baseline {baseline} lies in --out {out}, whose release this run replaces",
                remedy="Name another folder (--out DIR), or a copy of the earlier release's bundle.zip.",
            )
        earlier = read_release(named_folder(baseline, "--baseline"))
        if earlier.report.verdict == "smoke" and not smoke:
            raise RecipeError(
                f"--baseline {baseline}: it is a smoke run, whose measurements mean nothing",
                remedy="Name the folder or bundle of a release.",
            )
        return earlier
    comparing = [gate.label for gate in recipe.gates if compares_releases(gate)]
    if comparing and baseline is None and not smoke:
        raise RecipeError(
            f"{where}: the gate {comparing[0]} compares with an earlier release, and none is named",
            remedy=f"Name its folder or bundle: --baseline runs/LAST/bundle.zip; or, for a first release: "
            f"--baseline {NO_BASELINE}",
        )
    return None

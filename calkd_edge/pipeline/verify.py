"""verify: a release against its checksums and, when asked, its models against their golden outputs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from calkd_edge.errors import RecipeError
from calkd_edge.release.contents import BUNDLE
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.report.report import JSON_NAME
from calkd_edge.release.verification import problems_of

log = logging.getLogger(__name__)


def verify(
    release: str | Path,
    *,
    run: bool = False,
    device: str = "local",
    on_message: Callable[[str], None] = log.info,
) -> list[str]:
    """Every problem of a bundle or of a run's folder, one sentence each; empty when all is as it was written.

    Every byte is read: files that are missing, altered or surplus, files that are not the ones that were
    measured, names that lead out of a folder, checksums that disagree, and a newer schema. With `run`, each
    model of the bundle answers the golden inputs again, which is compared with the golden outputs.

    Args:
        release: a bundle.zip, or the folder of a finished run.
        run: whether to execute the models; otherwise none is loaded.
        device: where they run: a name of the inventory, or USER@HOST.
        on_message: called with a sentence for each model that ran, or could not run there.

    Raises:
        RecipeError: there is no such bundle or folder, no such device, or nothing of it can run there.
        DeviceError: the device is lost.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "bundle.zip"
        >>> _ = path.write_text("not a zip file")
        >>> [problem.split(": ")[1] for problem in verify(path)]
        ['not a readable bundle']
    """
    path = Path(release)
    bundle, problems = path, []
    if path.is_dir() and (path / JSON_NAME).is_file():
        bundle = path / BUNDLE
        problems = ReleaseFolder(path).problems()
        if run and not bundle.is_file():
            raise RecipeError(
                f"{path} has no {BUNDLE}, so it has no golden outputs to compare with",
                remedy="Only a passed release has one, or an undecided one with --allow-undecided.",
            )
    if bundle is path or bundle.is_file():
        problems += problems_of(bundle)
    if run and not problems:
        # Imported here: it loads onnx, and checksums need none.
        from calkd_edge.benchmarking.golden_outputs import compare_outputs

        problems += compare_outputs(bundle, device, on_message)
    return problems

"""verify: a release against its checksums and, when asked, its models against their golden outputs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from calkd_edge.errors import RecipeError
from calkd_edge.release.bundle import SUMS
from calkd_edge.release.contents import BUNDLE, FILE, LOG, check_not_unpacked, kind_of, surplus
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.verification import folder_contradictions, problems_of

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
    measured, names that lead out of a folder, checksums that disagree, and a newer schema. Report, manifest,
    bundle and folder must say the same, and so must each ONNX file's own metadata. With `run`, each model of
    the bundle answers the golden inputs again, which is compared with the golden outputs.

    Args:
        release: a bundle.zip, or the folder of a finished run.
        run: whether to execute the models; otherwise only their metadata are read.
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
    if path.is_dir():
        check_not_unpacked(path)
    if path.is_dir() and _holds_release(path):
        bundle = path / BUNDLE
        problems = ReleaseFolder(path).problems()
        if run and not problems and not bundle.is_file():
            raise RecipeError(
                f"{path} has no {BUNDLE}, so it has no golden outputs to compare with",
                remedy="Only a passed release has one, or an undecided one with --allow-undecided.",
            )
    if bundle is path or kind_of(bundle) == FILE:
        problems += problems_of(bundle)
    if not problems and bundle is not path:
        problems += folder_contradictions(path)
    if not problems:
        # Imported here: they load onnx.
        from calkd_edge.benchmarking.claims import contradicted_claims

        problems += contradicted_claims(path)
    if run and not problems:
        from calkd_edge.benchmarking.golden_outputs import compare_outputs

        problems += compare_outputs(bundle, device, on_message)
    return problems


def _holds_release(folder: Path) -> bool:
    """Whether there is anything of a release in a folder.

    Raises:
        RecipeError: nothing but the log of a run that has not ended.
    """
    if kind_of(folder / SUMS) or surplus(folder, ()):
        return True
    if kind_of(folder / LOG):
        raise RecipeError(
            f"{folder} holds no finished release: there is only the log of a run",
            remedy="Run compress again: it continues from its last finished stage.",
        )
    return False

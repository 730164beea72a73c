"""report: the page of a finished release again, as the present version draws it."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.errors import RecipeError
from calkd_edge.files import check_folder, write_atomically
from calkd_edge.files.paths import check_path
from calkd_edge.pipeline.gate import gate
from calkd_edge.release.contents import FILE, kind_of
from calkd_edge.release.earlier import read_release
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.report.page import render_html
from calkd_edge.release.report.report import HTML_NAME


def report(
    release: str | Path, *, output: str | Path = HTML_NAME, baseline: str | Path | None = None
) -> Path:
    """Draw the page of a finished release again; the release itself stays as it is.

    Args:
        release: the folder of a finished run, or a bundle.zip.
        output: the page to write.
        baseline: the folder or bundle of an earlier release to compare with: the gates judge again.

    Returns:
        The page's path.

    Raises:
        RecipeError: the release is damaged, or the page would replace a file of a release.

    Example:
        >>> import tempfile
        >>> from calkd_edge import RecipeError
        >>> try:
        ...     report("bundle.zip", output=tempfile.mkdtemp())
        ... except RecipeError as problem:
        ...     print(problem.message.split(": ")[1])
        it is a folder
    """
    target = Path(output)
    check_path(target, "--output")
    check_folder(target.parent, "--output")
    if kind_of(target) not in ("", FILE):
        raise RecipeError(
            f"--output {target}: it is {kind_of(target)}", remedy="Name a file: --output page.html"
        )
    if kind_of(target) and _belongs_to_release(target):
        raise RecipeError(
            f"--output {target}: it belongs to a release, whose checksums would no longer hold",
            remedy="Name another file: --output FILE.html",
        )
    drawn = read_release(Path(release)).report if baseline is None else gate(release, baseline=baseline)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render_html(drawn).encode())
    return target


def _belongs_to_release(target: Path) -> bool:
    return target.name in ReleaseFolder(target.parent).names()

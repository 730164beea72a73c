"""report: the page of a finished release again, as the present version draws it."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.pipeline.gate import gate
from calkd_edge.release.earlier import read_release
from calkd_edge.release.outputs import check_output, write_output
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
        RecipeError: the release is damaged, or the page cannot be written or would be a file of a release.

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
    check_output(target, "--output")
    drawn = read_release(Path(release)).report if baseline is None else gate(release, baseline=baseline)
    write_output(target, "--output", render_html(drawn))
    return target

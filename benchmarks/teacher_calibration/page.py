"""docs/evidence.md and its figures from the committed results; nothing is trained here.

    PYTHONPATH=benchmarks/distillation python benchmarks/teacher_calibration/page.py

Every conclusion is computed from its interval; a cell that lacks a run is named as incomplete and concludes
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import effects
import repeat
import sections
from advice import advice
from correlations import correlation, pairs
from results import Results

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE, PICTURES = ROOT / "docs" / "evidence.md", ROOT / "docs" / "pictures"
RESULTS = ("cpu.json", "cuda.json")
HEAD = """# Does calibrating the teacher make a better student?

The paper behind this project says so (arXiv 2508.20224). This page tests it with the project's own commands
on real CIFAR-100, in short trainings. The [design](../benchmarks/teacher_calibration/DESIGN.md) was written
before any student was trained: hypotheses (H1 to H4, N), the rival explanations (R1, R2), teachers, losses,
seeds, the two primary figures (P1, P2) and what would refute them.

`benchmarks/teacher_calibration/page.py` wrote this page from {sources}. Each row there has its recipe's
digest, seed, versions and device; `run.py` beside it trains what is missing.
"""


def pages(results: dict[Path, Results], again: Results | None = None) -> tuple[str, dict[str, str]]:
    """The page and its pictures by file name.

    Args:
        results: by file.
        again: of the repeated pair, if it was repeated.
    """
    sources = " and ".join(
        f"`{path.name}` (SHA-256 `{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}…`)" for path in results
    )
    parts, pictures = [HEAD.format(sources=sources)], {}
    for path, result in results.items():
        for part, drawn in _of_one(result, path.stem):
            parts.append(part)
            pictures |= drawn
    if again is not None:
        parts += [repeat.repeated(result, again) for path, result in results.items() if path.stem == "cpu"]
    parts += [effects.ALGEBRA, sections.LIMITS]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part), pictures


def _of_one(results: Results, kind: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield sections.scale(results, kind), {}
    for section in (sections.outcome, advice, sections.completeness, sections.teachers):
        yield section(results), {}
    for drawn in (correlation, effects.intervention):
        yield drawn(results, kind)
    for section in (effects.rivals, sections.students, pairs, sections.sweep, sections.after_int8):
        yield section(results), {}


def committed() -> tuple[dict[Path, Results], Results | None]:
    """The results beside this file."""
    results = {HERE / name: Results.read(HERE / name) for name in RESULTS if (HERE / name).is_file()}
    again = Results.read(repeat.RESULT, "cpu") if repeat.RESULT.is_file() else None
    return results, again


def main() -> None:
    """Write the page and its pictures."""
    text, pictures = pages(*committed())
    PAGE.write_text(text, encoding="utf-8")
    for name, svg in pictures.items():
        (PICTURES / name).write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()

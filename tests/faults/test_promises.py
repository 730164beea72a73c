"""docs/promises.md counts what the log of the soak holds."""

from __future__ import annotations

from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak"


def test_page_of_promises_is_that_of_the_log(monkeypatch):
    monkeypatch.syspath_prepend(str(SOAK))
    import promises

    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(promises.LOG)

"""Text of others in Markdown."""

from __future__ import annotations

from calkd_edge.records import Json


def cell(value: Json) -> str:
    """Text in which nothing is markup of Markdown or HTML."""
    text = " ".join(str(value).split())
    for sign, safe in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("[", "\\["),
    ):
        text = text.replace(sign, safe)
    return text

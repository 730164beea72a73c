"""What is taken for what, as a map of the most frequent wrong answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from calkd_edge.files.visible import visible
from calkd_edge.release.report.figures.plot import LETTER, WIDE, drawing, shortened, text

NUMBERS_UP_TO = 14
"""Classes up to which a cell shows its number."""
LONGEST_NAME = 14


def confusion(
    names: Sequence[str], counts: Mapping[tuple[int, int], int], *, title: str, description: str
) -> str:
    """A map of classes against answers as SVG; darker cells hold more images, the diagonal is left open.

    Args:
        names: of the classes.
        counts: images by (class, answer); the two differ.
        title: names the figure.
        description: says in words what it shows.
    """
    shown = [shortened(name, LONGEST_NAME) for name in names]
    margin = 12 + LETTER * 1.1 * max(map(len, shown), default=0)
    left, top = margin + 18, 0.75 * margin + 26
    right = max(4.0, 0.65 * LETTER * 1.1 * len(shown[-1]) - 10)
    cell = (WIDE - left - right) / len(names)
    most = max(counts.values(), default=1)
    shapes = [text("name", 11, top + cell * len(names) / 2, "class", anchor="middle", turned=-90)]
    shapes.append(text("name", left + cell * len(names) / 2, 12, "taken for", anchor="middle"))
    for k, name in enumerate(shown):
        shapes.append(text("tick", left - 6, top + (k + 0.5) * cell + 4, name, anchor="end"))
        shapes.append(text("tick", left + (k + 0.6) * cell, top - 6, name, turned=-50))
    for row in range(len(names)):
        for column in range(len(names)):
            x, y = left + column * cell, top + row * cell
            square = f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
            number = counts.get((row, column), 0)
            if row == column:
                shapes.append(f'<rect class="right" {square}/>')
            elif number:
                hover = escape(visible(f"{number:,} of {names[row]} taken for {names[column]}"))
                shade = f'class="wrong" fill-opacity="{0.12 + 0.68 * number / most:.2f}"'
                shapes.append(f"<rect {shade} {square}><title>{hover}</title></rect>")
            else:
                shapes.append(f'<rect class="none" {square}/>')
            if number and len(names) <= NUMBERS_UP_TO:
                shapes.append(text("count-of", x + cell / 2, y + cell / 2 + 4, f"{number}", anchor="middle"))
    height = top + cell * len(names) + 6
    return drawing(shapes, width=WIDE, height=height, title=title, description=description)

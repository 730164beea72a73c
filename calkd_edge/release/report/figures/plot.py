"""A rectangle with axes: data coordinates in, SVG elements out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape

from calkd_edge.files.visible import visible
from calkd_edge.release.report.figures.scale import Scale

SMALL, WIDE = 270, 440
"""Widths of figures: several beside each other, and one or two."""
LETTER = 6.0
"""Mean width of a letter of a tick's label."""


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters; the middle is left out, since names often begin alike."""
    shown = visible(name)
    if len(shown) <= most:
        return shown
    end = (most - 1) // 2
    return f"{shown[: most - 1 - end]}…{shown[len(shown) - end :]}"


def text(
    kind: str, x: float, y: float, content: str, *, anchor: str = "start", turned: float | None = None
) -> str:
    """A text at a point of the drawing, turned by some degrees."""
    turn = f' transform="rotate({turned:g} {x:.1f} {y:.1f})"' if turned is not None else ""
    position = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}'
    return f'<text class="{kind}" {position}>{escape(visible(content))}</text>'


def drawing(shapes: Sequence[str], *, width: float, height: float, title: str, description: str) -> str:
    """An SVG with its title and description, for eyes and screen readers."""
    key = f"figure-{sha256((title + description).encode()).hexdigest()[:10]}"
    size = "wide" if width >= WIDE else "small"
    return (
        f'<svg class="plot {size}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{escape(visible(title))}</title>'
        f'<desc id="{key}-desc">{escape(visible(description))}</desc>{"".join(shapes)}</svg>'
    )


@dataclass(frozen=True)
class Plot:
    """A plot's size, scales and margins; its methods return SVG elements.

    Attributes:
        width: of the drawing.
        height: likewise.
        x: the horizontal scale.
        y: the vertical scale.
        left: margin of the y axis' labels; the others likewise.
    """

    width: float
    height: float
    x: Scale
    y: Scale
    left: float = 42
    top: float = 12
    right: float = 12
    bottom: float = 36

    def across(self, value: float) -> float:
        """The horizontal position of a value, inside the frame."""
        part = min(max(self.x.position(value), 0.0), 1.0)
        return self.left + part * (self.width - self.left - self.right)

    def up(self, value: float) -> float:
        """The vertical position of a value, inside the frame."""
        part = min(max(self.y.position(value), 0.0), 1.0)
        return self.height - self.bottom - part * (self.height - self.top - self.bottom)

    def frame(self, *, y_ticks: bool = True) -> list[str]:
        """Axes with ticks and names; without `y_ticks` the vertical one has a name alone."""
        floor, end = self.height - self.bottom, self.width - self.right
        out = [*self._x_ticks(floor)]
        for tick in self.y.ticks if y_ticks else ():
            y = self.up(tick)
            out.append(text("tick", self.left - 6, y + 3.5, self.y.text(tick), anchor="end"))
            out.append(f'<path class="grid" d="M{self.left:g} {y:.1f}H{end:g}"/>')
        out.append(f'<path class="axis" d="M{self.left:g} {self.top:g}V{floor:g}H{end:g}"/>')
        out.append(text("name", (self.left + end) / 2, self.height - 4, self.x.name, anchor="middle"))
        if self.y.name:
            half = (floor + self.top) / 2
            out.append(text("name", 11, half, self.y.name, anchor="middle", turned=-90))
        return out

    def _x_ticks(self, floor: float) -> list[str]:
        """Labels of the horizontal ticks, without those that would touch the one before."""
        out, free = [], 0.0
        for tick in self.x.ticks:
            label, x = self.x.text(tick), self.across(tick)
            half = LETTER * len(label) / 2
            x = min(x, self.width - half)
            if x - half < free:
                continue
            free = x + half + LETTER
            out.append(text("tick", x, floor + 14, label, anchor="middle"))
        return out

    def line(self, x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
        """A line between two points."""
        start, end = f"{self.across(x0):.1f} {self.up(y0):.1f}", f"{self.across(x1):.1f} {self.up(y1):.1f}"
        return f'<path class="{kind}" d="M{start}L{end}"/>'

    def path(self, points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> str:
        """A line through points, or the area inside them."""
        steps = "L".join(f"{self.across(x):.1f} {self.up(y):.1f}" for x, y in points)
        return f'<path class="{kind}" d="M{steps}{"Z" if closed else ""}"/>'

    def box(self, x0: float, y0: float, x1: float, y1: float, kind: str, hover: str = "") -> str:
        """A filled rectangle, with a gap of one unit to its neighbour."""
        left, top = self.across(x0) + 0.5, self.up(y1)
        width, height = max(self.across(x1) - left - 0.5, 0.5), max(self.up(y0) - top, 0.0)
        shape = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
        return f'<rect class="{kind}" {shape}>{_hover(hover)}</rect>'

    def dot(self, x: float, y: float, kind: str, hover: str = "", radius: float = 3.4) -> str:
        """A circle."""
        shape = f'cx="{self.across(x):.1f}" cy="{self.up(y):.1f}" r="{radius:.1f}"'
        return f'<circle class="{kind}" {shape}>{_hover(hover)}</circle>'

    def svg(self, shapes: Sequence[str], *, title: str, description: str) -> str:
        """The drawing of these shapes."""
        return drawing(shapes, width=self.width, height=self.height, title=title, description=description)


def _hover(content: str) -> str:
    return f"<title>{escape(visible(content))}</title>" if content else ""

"""Figures as inline SVG: no script, readable in print, in the dark and by a screen reader.

Colours come from the page's CSS variables; every figure carries a title and a description.
In scope: records or plain numbers -> SVG. Out of scope: choosing what to show, the page around it.
"""

from calkd_edge.release.report.figures.confusion import confusion
from calkd_edge.release.report.figures.curves import Dot, Kind, Line, curves
from calkd_edge.release.report.figures.histograms import confidence_histogram, latency
from calkd_edge.release.report.figures.reliability import reliability
from calkd_edge.release.report.figures.rows import Mark, MarkKind, Row, rows
from calkd_edge.release.report.figures.scale import Scale, epochs, shares, spanning
from calkd_edge.release.report.figures.tradeoff import Option, tradeoff

__all__ = [
    "Dot",
    "Kind",
    "Line",
    "Mark",
    "MarkKind",
    "Option",
    "Row",
    "Scale",
    "confidence_histogram",
    "confusion",
    "curves",
    "epochs",
    "latency",
    "reliability",
    "rows",
    "shares",
    "spanning",
    "tradeoff",
]

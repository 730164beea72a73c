"""The sections of report.html, one file each with its template in templates/sections.

In scope: what a section shows. Out of scope: the page around it, computing figures.
"""

from calkd_edge.release.report.section import Section
from calkd_edge.release.report.sections.baseline import BASELINE
from calkd_edge.release.report.sections.calibration import CALIBRATION
from calkd_edge.release.report.sections.classes import CLASSES
from calkd_edge.release.report.sections.conclusions import CONCLUSIONS
from calkd_edge.release.report.sections.confidence import CONFIDENCE
from calkd_edge.release.report.sections.corruptions import CORRUPTIONS
from calkd_edge.release.report.sections.definitions import DEFINITIONS
from calkd_edge.release.report.sections.drift import DRIFT
from calkd_edge.release.report.sections.facts import FACTS
from calkd_edge.release.report.sections.further import FURTHER
from calkd_edge.release.report.sections.gates import GATES
from calkd_edge.release.report.sections.latency import LATENCY
from calkd_edge.release.report.sections.measurements import MEASUREMENTS
from calkd_edge.release.report.sections.pictures import PICTURES
from calkd_edge.release.report.sections.plan import PLAN
from calkd_edge.release.report.sections.reliability import RELIABILITY
from calkd_edge.release.report.sections.thresholds import THRESHOLDS
from calkd_edge.release.report.sections.tradeoff import TRADEOFF
from calkd_edge.release.report.sections.training import TRAINING
from calkd_edge.release.report.sections.unknown import UNKNOWN

SECTIONS: list[Section] = [
    GATES,
    CONCLUSIONS,
    BASELINE,
    TRADEOFF,
    MEASUREMENTS,
    THRESHOLDS,
    RELIABILITY,
    CLASSES,
    PICTURES,
    TRAINING,
    CORRUPTIONS,
    UNKNOWN,
    DRIFT,
    CALIBRATION,
    CONFIDENCE,
    LATENCY,
    FURTHER,
    PLAN,
    FACTS,
    DEFINITIONS,
]
"""In the order of the page: what decides first, folded details last.

A new section is one file, its template, and a line here.
"""

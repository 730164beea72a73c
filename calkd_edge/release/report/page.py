"""report.html: its first screen, its contents, and the sections in the order in which they are registered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from calkd_edge.files.visible import visible
from calkd_edge.records import Report
from calkd_edge.release.gates.idle import idle_sentences
from calkd_edge.release.report import headline
from calkd_edge.release.report.section import TEMPLATES, Section
from calkd_edge.release.report.sections import SECTIONS
from calkd_edge.release.report.sections.gates import OUTCOMES

LEADS = {
    "passed": "Every gate passed: its whole interval is inside its limit.",
    "failed": "At least one limit is broken or was not measured.",
    "undecided": "No limit is broken, but the evidence is too small to decide all of them.",
    "smoke": "A smoke run with tiny numbers: every stage ran, and its measurements mean nothing.",
}

PASSED_BUT_IDLE = "Every gate that judged passed: its whole interval is inside its limit."

NO_GATES = "Nothing was judged: the recipe sets no gates."

_UNIT = re.compile(r"(\d) (%|ms|kB|MB|GB|bytes|±)")


def render_html(report: Report) -> str:
    """The page as text: self-contained, without script; everything from outside is escaped."""
    environment = template_environment(autoescape=True)
    return environment.get_template("report.html.j2").render(
        report=report,
        style=stylesheet(),
        lead=lead(report),
        summary=summary(report),
        first=headline.context(report),
        sections=list(_sections(report, environment)),
    )


def lead(report: Report) -> str:
    """The verdict as a sentence, and which gates did not judge."""
    if not report.gates:
        return NO_GATES
    idle = idle_sentences(report.conclusions)
    passed = idle and report.verdict == "passed"
    return " ".join([PASSED_BUT_IDLE if passed else LEADS[report.verdict], *idle])


def _sections(report: Report, environment: Environment) -> Iterator[tuple[Section, Markup]]:
    """Every section that has something to show, with its content as HTML."""
    for section in SECTIONS:
        context = section.context(report)
        if context is not None:
            template = environment.from_string(section.template.read_text(encoding="utf-8"))
            yield section, Markup(template.render(context))


def template_environment(*, autoescape: bool) -> Environment:
    """Templates of this room; a name that a template lacks is an error, not an empty string."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["tight"] = _keep_units
    environment.filters["breakable"] = _breakable
    return environment


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def stylesheet() -> str:
    """The CSS of every page."""
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "figures.css"))


def summary(report: Report) -> str:
    """How many gates had which outcome, as one line."""
    if not report.gates:
        return "The recipe sets no gates."
    counts: Counter[str] = Counter(gate.result for gate in report.gates)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    total = len(report.gates)
    return f"{total} {'gate' if total == 1 else 'gates'}: {', '.join(parts)}."


def _keep_units(text: str) -> str:
    """Text whose numbers stay on the same line as their units."""
    return _UNIT.sub("\\1\u00a0\\2", text)


def _breakable(name: str) -> Markup:
    """A name of HTML that may continue on the next line after a colon, as in local:openvino."""
    return Markup(escape(visible(name)).replace(":", Markup(":<wbr>")))

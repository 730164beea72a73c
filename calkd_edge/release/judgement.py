"""The verdict and what follows from it: the comparison with an earlier release, and what to ship.

A run judges what it measured; a finished release is judged again from what it kept, with the same result.

In scope: putting evidence, gates and earlier release together. Out of scope: measuring, showing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from calkd_edge.errors import CalkdError, GateFailed, GateUndecided
from calkd_edge.recipe.schema import Recipe
from calkd_edge.records import Baseline, DeviceFacts, Recommendation, Report, Verdict
from calkd_edge.release.changes import compared
from calkd_edge.release.earlier import ReadRelease, with_earlier
from calkd_edge.release.gates.evidence import DataFaults, Evidence, labels_of
from calkd_edge.release.gates.idle import idle_sentences, set_apart
from calkd_edge.release.gates.learnt import NOTHING
from calkd_edge.release.gates.verdict import judge
from calkd_edge.release.recommendation import recommendations
from calkd_edge.release.report.pipelines import SMOKE
from calkd_edge.release.scores import KeptScores

FAILED = "See report.html for the figure and the limit of each; no bundle was written."
UNDECIDED = "See report.html for the reason of each, and what would decide it where that is known."
JUDGED_AGAIN_FAILED = (
    "The sentence of each gate has its figure and its limit; for other limits name a recipe: --recipe FILE"
)
JUDGED_AGAIN_UNDECIDED = (
    "The sentence of each gate has the reason, and what would decide it where that is known."
)


@dataclass(frozen=True)
class Judgement:
    """What was decided.

    Attributes:
        verdict: with the outcome of every gate.
        recommendation: what to ship on each device.
        baseline: what changed since the earlier release; None without one.
        notes: sentences on gates that did not judge.
    """

    verdict: Verdict
    recommendation: tuple[Recommendation, ...]
    baseline: Baseline | None
    notes: tuple[str, ...]

    def concluding(self, sentences: Iterable[str]) -> tuple[str, ...]:
        """Sentences on the measurements, between those on this verdict; those on another are left out."""
        kept = list(sentences)
        idle = idle_sentences(kept)
        return (
            *(f"{gate.sentence}." for gate in self.verdict.gates if gate.sentence.startswith(NOTHING)),
            *(text for text in kept if text not in idle and not text.startswith(NOTHING)),
            *self.notes,
        )


def judged(
    recipe: Recipe,
    evidence: Sequence[Evidence],
    scores: KeptScores,
    devices: Mapping[str, DeviceFacts],
    *,
    earlier: ReadRelease | None = None,
    smoke: bool = False,
    target_devices: Sequence[str] = (),
) -> Judgement:
    """The verdict of a recipe's gates, and all that follows from it.

    Args:
        recipe: its gates and thresholds are read.
        evidence: all measurements, in the report's order.
        scores: of the same evidence.
        devices: facts of each device.
        earlier: the release to compare with. Without one, gates that need it do not judge.
        smoke: the verdict is `smoke`, whatever the gates say.
        target_devices: NAME:RUNTIME of each device that `device: target` stands for.

    Raises:
        RecipeError: a gate cannot work as written.
    """
    gates, notes = set_apart(recipe.gates, has_baseline=earlier is not None, has_target=bool(target_devices))
    if earlier is not None:
        evidence = with_earlier(evidence, earlier, scores, devices)
    verdict = judge(gates, evidence, smoke=smoke, target_devices=target_devices)
    measurements = [item.measurement for item in evidence]
    return Judgement(
        verdict,
        recommendations(measurements, verdict.gates, verdict.verdict, devices),
        None if earlier is None else compared(evidence, earlier.report, recipe.thresholds),
        notes,
    )


def problem_of(report: Report, *, again: bool = False) -> CalkdError | None:
    """What a verdict ends a command with; None where the release passed.

    A run of a recipe with tiny numbers ends without a problem: it did what it was for.

    Args:
        report: with its verdict.
        again: whether a finished release was judged again, which writes no page and no bundle.
    """
    results = [gate.result for gate in report.gates]
    if report.verdict == "failed":
        broken = results.count("failed") + results.count("unmeasured")
        remedy = JUDGED_AGAIN_FAILED if again else FAILED
        return GateFailed(f"{broken} gate(s) did not pass", remedy=remedy)
    if report.verdict == "undecided":
        undecided = f"{results.count('undecided')} gate(s) are undecided"
        return GateUndecided(undecided, remedy=JUDGED_AGAIN_UNDECIDED if again else UNDECIDED)
    if report.verdict == "smoke" and again:
        return GateUndecided(f"{report.name} is a {SMOKE}", remedy="Run its recipe without --smoke first.")
    return None


def judged_again(
    release: ReadRelease, scores: KeptScores, recipe: Recipe, earlier: ReadRelease | None = None
) -> Report:
    """The report of a finished release under a recipe's gates; nothing is measured.

    Args:
        release: the release.
        scores: what it kept.
        recipe: its own, or one with other gates.
        earlier: the release to compare with.
    """
    report = release.report
    faults = report.data.get("faults")
    known = DataFaults(**faults) if isinstance(faults, dict) else None  # type: ignore[arg-type]
    names = labels_of(report.measurements)
    corrupted = {row.measurement: row.rows for row in report.out_of_distribution}
    unknown = {row.measurement: row for row in report.unknown}
    evidence = [
        Evidence(
            m,
            data=known,
            classes=release.classes,
            kept=scores.by_measurement.get(position),
            corrupted=corrupted.get(name, ()) if m.calibrated else (),
            unknown=unknown.get(name) if m.calibrated else None,
        )
        for position, (m, name) in enumerate(zip(report.measurements, names, strict=True))
    ]
    judgement = judged(
        recipe,
        evidence,
        scores,
        report.devices,
        earlier=earlier,
        smoke=report.verdict == "smoke",
        target_devices=report.target_devices,
    )
    return report.model_copy(
        update={
            "verdict": judgement.verdict.verdict,
            "gates": judgement.verdict.gates,
            "recommendation": judgement.recommendation,
            "baseline": judgement.baseline,
            "conclusions": judgement.concluding(report.conclusions),
            "recipe": recipe.model_dump(mode="json"),
        }
    )

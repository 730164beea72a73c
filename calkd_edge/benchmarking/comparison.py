"""A benchmark against its baseline: which files are timed again, and the changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from calkd_edge.benchmarking.baseline import compared
from calkd_edge.benchmarking.caveats import doubts
from calkd_edge.benchmarking.files import milliseconds
from calkd_edge.benchmarking.ratios import ratio
from calkd_edge.benchmarking.timing import Contender
from calkd_edge.devices.session import TimedRun
from calkd_edge.records import AgainstBaseline, FloatArray


@dataclass(frozen=True)
class Comparison:
    """The files of the baseline: those that are timed again, and the recorded samples of the others.

    Attributes:
        precisions: that both benchmarks have.
        contenders: files that are unchanged.
        recorded: milliseconds of the others, by precision, a series for each process.
    """

    precisions: Sequence[str] = ()
    contenders: Sequence[Contender] = ()
    recorded: Mapping[str, list[FloatArray]] = field(default_factory=dict)

    def against(self, runs: Mapping[str, list[TimedRun]]) -> tuple[AgainstBaseline, ...]:
        """Each precision against the baseline's file if that was timed too, else against its record."""
        results = []
        for precision in self.precisions:
            in_turns = precision not in self.recorded
            then = milliseconds(runs[f"baseline.{precision}"]) if in_turns else self.recorded[precision]
            both = ratio(milliseconds(runs[precision]), then, paired=in_turns)
            results.append(compared(precision, both, interleaved=in_turns, doubts=doubts(runs)))
        return tuple(results)

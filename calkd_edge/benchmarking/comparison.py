"""A benchmark against its baseline: which files are timed again, and the changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from calkd_edge.benchmarking.baseline import compared
from calkd_edge.benchmarking.caveats import doubts, doubts_of_record
from calkd_edge.benchmarking.files import milliseconds
from calkd_edge.benchmarking.ratios import ratio
from calkd_edge.benchmarking.timing import Contender
from calkd_edge.devices.session import TimedRun
from calkd_edge.records import AgainstBaseline, Benchmark, FloatArray


@dataclass(frozen=True)
class Comparison:
    """The files of the baseline: those that are timed again, and the recorded samples of the others.

    Attributes:
        precisions: that both benchmarks have.
        contenders: files that are unchanged.
        recorded: milliseconds of the others, by precision, a series for each process.
        then: the baseline's record, whose own doubts count where its samples do.
    """

    precisions: Sequence[str] = ()
    contenders: Sequence[Contender] = ()
    recorded: Mapping[str, list[FloatArray]] = field(default_factory=dict)
    then: Benchmark | None = None

    def against(self, runs: Mapping[str, list[TimedRun]]) -> tuple[AgainstBaseline, ...]:
        """Each precision against the baseline's file if that was timed too, else against its record."""
        results = []
        for precision in self.precisions:
            in_turns = precision not in self.recorded
            then = milliseconds(runs[f"baseline.{precision}"]) if in_turns else self.recorded[precision]
            both = ratio(milliseconds(runs[precision]), then, paired=in_turns)
            reasons = list(doubts(runs))
            if not in_turns and self.then is not None:
                options = runs[precision][0].reply["session_options"]
                reasons += doubts_of_record(self.then, precision, options)
            results.append(compared(precision, both, interleaved=in_turns, doubts=reasons))
        return tuple(results)

"""How busy the processors are with work that is not this process'."""

from __future__ import annotations

import os
import resource
import time

from calkd_edge.agent.machine import Machine


class OtherWork:
    """Processor time of everything else on the machine, from now on.

    Args:
        machine: whose /proc/stat is read.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._start = self._now()

    def cores(self) -> float | None:
        """Cores that other work used on average since the start; None where the system does not tell."""
        busy, used_here, clock = self._now()
        busy_then, used_then, clock_then = self._start
        if busy is None or busy_then is None or clock <= clock_then:
            return None
        return max(0.0, ((busy - busy_then) - (used_here - used_then)) / (clock - clock_then))

    def _now(self) -> tuple[float | None, float, float]:
        """Busy seconds of all processors, those of this process, and the clock."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return busy_seconds(self.machine), used.ru_utime + used.ru_stime, time.perf_counter()


def busy_seconds(machine: Machine) -> float | None:
    """Seconds that the processors worked since the start of the system; None where it does not tell."""
    words = machine.read("/proc/stat").partition("\n")[0].split()
    # user, nice, system, idle, waiting, interrupts (2), taken by other virtual machines
    if len(words) < 8 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:8]):
        return None
    user, nice, system, _, _, hard, soft = map(int, words[1:8])
    taken = int(words[8]) if len(words) > 8 and words[8].isdigit() else 0
    return (user + nice + system + hard + soft + taken) / os.sysconf("SC_CLK_TCK")

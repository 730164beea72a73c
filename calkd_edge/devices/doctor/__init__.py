"""What will run on a device, what it lacks, and what to watch out for.

In scope: asking one device for its facts, and pure functions from those facts to a report. Out of scope:
printing, benchmarks. What is known of releases is here and not in the agent, which only reads facts.
"""

from calkd_edge.devices.doctor.diagnosis import doctor
from calkd_edge.devices.doctor.examine import examine

__all__ = ["doctor", "examine"]

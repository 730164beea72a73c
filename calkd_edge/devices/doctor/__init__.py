"""What a machine tells of itself, judged: what will run there, what is missing, what to look out for.

In scope: pure functions from the agent's facts to a report. Out of scope: reaching the machine, printing.
What is known of releases stands here and not in the agent, which only reads.
"""

from calkd_edge.devices.doctor.examine import examine

__all__ = ["examine"]

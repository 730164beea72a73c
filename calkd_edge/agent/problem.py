"""The agent's only error: what went wrong on the board, and how to fix it there."""

from __future__ import annotations


class AgentProblem(Exception):
    """Something that the user of the board can fix.

    Args:
        message: what happened.
        remedy: what to do.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

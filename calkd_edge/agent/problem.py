"""The agent's one error: what went wrong on the board, and what to do there."""

from __future__ import annotations


class AgentProblem(Exception):
    """Something the user of the board can mend.

    Args:
        message: what happened.
        remedy: what to do.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

"""VERB job.json reply.json: read a job, do it, write the reply atomically.

Exit status 0 with a reply that holds the result, or 1 with a reply that holds an error and its remedy.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from calkd_edge.agent import PROTOCOL, WATCH_INPUT, memory_limit
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.packages import reason_of
from calkd_edge.agent.problem import AgentProblem

VERBS = {
    "probe": "probe.run",
    "build": "engine.build",
    "predict": "predict.run",
    "time": "latency.run",
    "doctor": "doctor.run",
}
"""Verb -> its function, imported on use: `doctor` works where numpy is missing."""

UNEXPECTED = "This is unexpected; the log holds the board's traceback."
REMEDY = f"{sys.executable} lacks it. calkd-edge doctor --device DEVICE prints the command that installs it."


class BrokenPackage(Exception):
    """A package is there, and its import ends in an error that is no ImportError: the cause."""


def end_with_input() -> None:
    """End this process when its standard input ends: the host that started it is gone."""

    def watch() -> None:
        try:
            while os.read(0, 1):
                pass
        except OSError:
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str]) -> int:
    """Do one job; returns the exit status."""
    if len(argv) != 3 or argv[0] not in VERBS:
        sys.stderr.write("usage: {} job.json reply.json\n".format("|".join(sorted(VERBS))))
        return 2
    verb, job_path, reply_path = argv
    status = 0
    try:
        with open(job_path, encoding="utf-8") as handle:
            job = json.load(handle)
        if job.get("protocol") != PROTOCOL:
            raise AgentProblem(
                "the job has protocol {}, this agent {}".format(job.get("protocol"), PROTOCOL),
                "Use the agent of the host's calkd-edge.",
            )
        module, _, function = VERBS[verb].partition(".")
        reply: dict[str, Any] = _imported(module, function)(job)
    except AgentProblem as problem:
        out_of_memory = memory_limit.reached_by(problem.message)
        remedy = memory_limit.REMEDY if out_of_memory else problem.remedy
        reply, status = {"error": problem.message, "remedy": remedy}, 1
    except (ImportError, BrokenPackage) as problem:
        reply, status = _without_package(problem), 1
    except Exception as problem:  # every failure must reach the host
        reply, status = _unexpected(problem), 1
    reply["protocol"] = PROTOCOL
    temporary = f"{reply_path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as handle:
        json.dump(reply, handle)
    os.replace(temporary, reply_path)
    return status


def _imported(module: str, function: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A verb's function, whose module imports what the board must have.

    Raises:
        ImportError: a package is missing.
        BrokenPackage: its import ends in another error.
    """
    try:
        run: Callable[[dict[str, Any]], dict[str, Any]] = getattr(
            importlib.import_module("calkd_edge.agent." + module), function
        )
    except ImportError:
        raise
    except Exception as problem:  # a package may raise anything where it is of another Python
        raise BrokenPackage from problem
    return run


def _unexpected(problem: Exception) -> dict[str, Any]:
    """The reply to an error that nobody foresaw, or to a lack of memory."""
    message = f"{type(problem).__name__}: {problem}"
    if isinstance(problem, MemoryError) or memory_limit.reached_by(message):
        return {"error": f"the board ran out of memory: {message}", "remedy": memory_limit.REMEDY}
    return {"error": message, "remedy": UNEXPECTED, "traceback": traceback.format_exc()}


def _without_package(problem: ImportError | BrokenPackage) -> dict[str, Any]:
    """The reply where a package is missing, or is there and cannot be imported."""
    if isinstance(problem, ModuleNotFoundError):
        return {"error": f"{type(problem).__name__}: {problem}", "remedy": REMEDY}
    cause = problem if isinstance(problem, ImportError) else problem.__cause__ or problem
    named = cause.name if isinstance(cause, ImportError) else None
    package = (named or _raised_in(cause)).partition(".")[0]
    path = os.environ.get("PYTHONPATH")
    other = f" PYTHONPATH there is {path}: a package of another Python may come first." if path else ""
    return {
        "error": f"{package} is there and cannot be imported: {reason_of(cause, package)}",
        "remedy": f"Install it for {sys.executable}; calkd-edge doctor --device DEVICE says how.{other}",
        "traceback": traceback.format_exc(),
    }


def _raised_in(problem: BaseException) -> str:
    """The package whose code raised an error: the name of the folder that holds it."""
    files = [frame.filename for frame in traceback.extract_tb(problem.__traceback__)]
    if isinstance(problem, SyntaxError) and problem.filename:
        files.append(problem.filename)
    names = [file.split(os.sep) for file in files]
    packages = [parts[-2] for parts in names if parts[-1] == "__init__.py" and len(parts) > 1]
    return packages[-1] if packages else "a package"


if __name__ == "__main__":
    if os.environ.get(WATCH_INPUT):
        end_with_input()
    memory_limit.set_limit(Machine())
    sys.exit(main(sys.argv[1:]))

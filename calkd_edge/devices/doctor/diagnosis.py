"""doctor(device): ask a device for its facts and examine them."""

from __future__ import annotations

from calkd_edge.devices.doctor.examine import examine
from calkd_edge.devices.session import open_session
from calkd_edge.devices.targets import without_runtime
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.records import DoctorReport


def doctor(device: str = "local") -> DoctorReport:
    """What a device is, which precisions will run on which of its runtimes, and what it lacks.

    The record is the one that `calkd-edge doctor --json` prints. No model runs. A device that can run nothing
    is no error: its report is not `usable`, and `check_usable` raises what the command does.

        >>> from calkd_edge.devices.doctor import doctor
        >>> report = doctor("local")
        >>> "onnxruntime" in {line.runtime for line in report.runnable if line.runs}
        True
        >>> report.usable
        True

    Args:
        device: a name of the inventory, a profile, USER@HOST, or "local" for this machine. A runtime after it
            (NAME:RUNTIME) is accepted as in other commands; the report covers all runtimes.

    Raises:
        RecipeError: no device or no runtime has that name.
        DeviceError: the device does not answer, or its location is not known.
    """
    name = without_runtime(device)
    with open_session(name) as session:
        return examine(name, session.doctor())


def check_usable(report: DoctorReport) -> None:
    """Check that some runtime there can run a model.

    Raises:
        EnvironmentProblem: none can; with the first thing to fix.
    """
    if report.usable:
        return
    lacking = next((item for item in report.symptoms if item.kind == "missing" and item.remedy), None)
    raise EnvironmentProblem(
        f"{report.device}: nothing there can run a model{f': {lacking.what}' if lacking else ''}",
        remedy=lacking.remedy if lacking else "See the reason of each runtime in the list above.",
    )

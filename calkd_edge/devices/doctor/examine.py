"""From the facts of a machine to a report."""

from __future__ import annotations

from calkd_edge.devices.doctor.commands import other_python, repair
from calkd_edge.devices.doctor.jetsons import jetson_of
from calkd_edge.devices.doctor.runnable import runnable
from calkd_edge.devices.doctor.symptoms import missing, without_numpy
from calkd_edge.devices.doctor.tensorrt import traps, why_not
from calkd_edge.devices.doctor.warnings import warnings
from calkd_edge.records import DoctorReport, Jetson, MachineFacts, Symptom

HERE = "local"
"""The device whose Python is the running one; the inventory cannot name another."""


def examine(device: str, facts: MachineFacts) -> DoctorReport:
    """What will run on a machine, what is missing there, and what to watch out for; a pure function."""
    jetson = jetson_of(facts)
    symptoms = [*_missing(device, facts, jetson), *traps(facts, jetson), *warnings(facts, jetson)]
    order = ("missing", "trap", "warning")
    symptoms = sorted(dict.fromkeys(symptoms), key=lambda symptom: order.index(symptom.kind))
    return DoctorReport(
        device=device,
        facts=facts,
        jetson=jetson,
        runnable=runnable(facts, jetson),
        symptoms=tuple(symptoms),
    )


def _missing(device: str, facts: MachineFacts, jetson: Jetson | None) -> list[Symptom]:
    python = facts.python
    if python is None:
        return [missing("no Python answered there", "Install Python 3.8 or later, with numpy.")]
    symptoms = [] if python.has("numpy") else [without_numpy(python)]
    there = python.has("tensorrt") or "tensorrt" in (python.broken or {})
    expects_tensorrt = jetson is not None or (facts.nvidia_gpu and there)
    for runtime, reasons in (
        ("tensorrt", why_not(facts, jetson) if expects_tensorrt else []),
        ("onnxruntime", _no_onnxruntime(facts)),
    ):
        other = other_python(facts.interpreters, runtime)
        if not python.has(runtime) and reasons and other is not None and device != HERE:
            remedy = f"Name that Python for the device: python: {other.path}"
            symptoms.append(missing(f"{python.path} cannot import {runtime}, {other.path} can", remedy))
        else:
            symptoms += reasons
    return symptoms


def _no_onnxruntime(facts: MachineFacts) -> list[Symptom]:
    python = facts.python
    if python is None or python.has("onnxruntime"):
        return []
    what, remedy = python.cannot_import("onnxruntime"), repair(python, "onnxruntime", "onnxruntime")
    if python.bits == 32:
        what += "; this Python is of 32 bits, for which there are no builds"
        remedy = "Install a 64-bit system there."
    return [missing(what, remedy)]

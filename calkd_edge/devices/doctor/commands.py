"""The exact command that installs something on the machine that was looked at."""

from __future__ import annotations

import shlex

from calkd_edge.records import Interpreter, Jetson

VENV = "~/calkd-venv"


def pip_install(python: Interpreter, packages: str) -> str:
    """How that Python gets packages: in its venv, for its user, or in a new venv where it must."""
    path = shlex.quote(python.path)
    if python.venv:
        pip = "" if python.has("pip") else f"{path} -m ensurepip && "
        return f"{pip}{path} -m pip install {packages}"
    if python.managed:
        ready = "" if python.has("ensurepip") else "sudo apt install python3-venv && "
        return (
            f"{ready}{path} -m venv --system-site-packages {VENV} && {VENV}/bin/pip install {packages}; "
            f"then use {VENV}/bin/python there"
        )
    ready = "" if python.has("pip") else "sudo apt install python3-pip && "
    return f"{ready}{path} -m pip install --user {packages}"


def cudart_install(jetson: Jetson | None) -> str:
    """How CUDA's runtime library comes to a machine."""
    if jetson is not None and jetson.cuda:
        return f"sudo apt install cuda-cudart-{jetson.cuda.replace('.', '-')}"
    if jetson is not None:
        return "sudo apt install nvidia-jetpack"
    return "Install CUDA's runtime 12 or 13, or name its libcudart.so in CALKD_CUDART."


def other_python(pythons: tuple[Interpreter, ...], package: str) -> Interpreter | None:
    """A Python that does not run the agent, but could with that package."""
    fit = (one for one in pythons if not one.running and one.has(package) and one.has("numpy"))
    return next(fit, None)

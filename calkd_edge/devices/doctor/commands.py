"""The exact command that installs a package on the examined machine."""

from __future__ import annotations

import shlex

from calkd_edge.records import Interpreter, Jetson

VENV = "~/calkd-venv"


def pip_install(python: Interpreter, packages: str) -> str:
    """The command that installs packages for that Python: in its venv, for its user, or in a new venv."""
    path = shlex.quote(python.path)
    if python.venv:
        pip = "" if python.has("pip") else f"{path} -m ensurepip && "
        return f"{pip}{path} -m pip install {packages}"
    if python.managed:
        venv = "" if python.has("ensurepip") else "sudo apt install python3-venv && "
        return (
            f"{venv}{path} -m venv --system-site-packages {VENV} && {VENV}/bin/pip install {packages}; "
            f"then use {VENV}/bin/python there"
        )
    pip = "" if python.has("pip") else "sudo apt install python3-pip && "
    return f"{pip}{path} -m pip install --user {packages}"


def repair(python: Interpreter, runtime: str, package: str) -> str:
    """The command that installs a package, or again where it is there and does not work.

    Args:
        python: that lacks it.
        runtime: the name in its `packages` or `broken`.
        package: the name for pip.
    """
    reason = (python.broken or {}).get(runtime)
    if reason is None:
        return pip_install(python, package)
    if "multiarray" in reason or "_ARRAY_API" in reason:
        newer, older = pip_install(python, f"-U {package}"), pip_install(python, "'numpy<2'")
        return f"It was built for another numpy. Take a newer one: {newer}; or an older numpy: {older}"
    if "SIGILL" in reason:
        return (
            f"Install an older version, which suits older processors: {pip_install(python, package)}==VERSION"
        )
    again = pip_install(python, f"--force-reinstall {package}")
    return f"{again}; where another folder of PYTHONPATH comes first, as with ROS, take it out there"


def cudart_install(jetson: Jetson | None) -> str:
    """The command that installs CUDA's runtime library."""
    if jetson is not None and jetson.cuda:
        return f"sudo apt install cuda-cudart-{jetson.cuda.replace('.', '-')}"
    if jetson is not None:
        return "sudo apt install nvidia-jetpack"
    return (
        "python3 -m pip install nvidia-cuda-runtime-cu12 (13: nvidia-cuda-runtime); where it is elsewhere, "
        "add its folder to /etc/ld.so.conf.d and run sudo ldconfig"
    )


def other_python(pythons: tuple[Interpreter, ...], package: str) -> Interpreter | None:
    """A Python that has the package and could run the agent, but does not."""
    usable = (python for python in pythons if python.has(package) and python.has("numpy"))
    return next((python for python in usable if not python.running), None)

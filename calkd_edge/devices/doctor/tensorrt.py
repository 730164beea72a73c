"""TensorRT on a machine: what prevents it from running, and known problems of its version."""

from __future__ import annotations

from calkd_edge.agent.engine import NO_ACCESS
from calkd_edge.devices.doctor.commands import cudart_install, repair
from calkd_edge.devices.doctor.symptoms import missing, trap, without_numpy
from calkd_edge.devices.doctor.versions import tensorrt_of, version_of
from calkd_edge.records import Jetson, MachineFacts, Symptom

OLDEST = (10,)
JETSON_GAP = ((11, 0), (11, 4, 1))
"""Versions from the first up to the second run on no Jetson."""

L4T_OF_11 = (39, 2, 2)
"""Jetson Linux of JetPack 7.2.2. Its releases are compared, since not every release's JetPack is known."""

L4T_OF_72, HOSTS_OF_72 = (39, 2), (10, 16)
"""JetPack 7.2 and its TensorRT; older versions, in containers, need a library that it no longer has."""

BROKEN = (10, 2, 0)


def why_not(facts: MachineFacts, jetson: Jetson | None) -> list[Symptom]:
    """What prevents TensorRT from running there, in the order to fix it; empty where nothing does."""
    if facts.python is None or not facts.python.has("tensorrt"):
        return [_not_importable(facts, jetson)]
    reasons = [] if facts.nvidia_gpu else [missing("there is no NVIDIA GPU, or its driver is not loaded", "")]
    if not facts.python.has("numpy"):
        reasons.append(without_numpy(facts.python))
    reasons += _version(facts, jetson)
    if jetson is not None and _lacks_dla_library(facts, jetson):
        reasons.append(_dla_library(jetson))
    if "libcudart" not in facts.libraries:
        reasons.append(missing("libcudart.so is not found", cudart_install(jetson)))
    return reasons


def _not_importable(facts: MachineFacts, jetson: Jetson | None) -> Symptom:
    if facts.python is None:
        return missing("no Python answered", "Install Python 3.8 or later.")
    what = facts.python.cannot_import("tensorrt")
    if not facts.nvidia_gpu:
        return missing(f"{what}, and there is no NVIDIA GPU", "")
    if "cannot create" in what:
        return missing(what, NO_ACCESS)
    if jetson is not None and "libnvdla_compiler" in what:
        return _dla_library(jetson)
    if jetson is None:
        return missing(what, repair(facts.python, "tensorrt", "tensorrt"))
    if facts.python.venv:
        remedy = (
            "Only the system's Python has JetPack's TensorRT: make the venv with "
            "python3 -m venv --system-site-packages"
        )
        return missing(what, f"sudo apt install python3-libnvinfer; {remedy}")
    return missing(what, "sudo apt install python3-libnvinfer")


def _version(facts: MachineFacts, jetson: Jetson | None) -> list[Symptom]:
    """What is wrong with the installed version."""
    text = tensorrt_of(facts)
    version = version_of(text)
    if version is None:
        return []
    if version < OLDEST:
        remedy = "Install JetPack 6.1 or later, which brings TensorRT 10.3; boards older than Orin run ONNX "
        remedy = remedy + "Runtime." if jetson is not None else "Install TensorRT 10.3 or later."
        return [trap(f"TensorRT {text} is refused: explicit int8 of these files needs 10.0 or later", remedy)]
    if jetson is None:
        return []
    if JETSON_GAP[0] <= version < JETSON_GAP[1]:
        what = f"TensorRT {text} runs on no Jetson: of 11, 11.4.1 is the first that does"
        return [trap(what, "Use the TensorRT that JetPack brings: sudo apt install python3-libnvinfer")]
    if version >= JETSON_GAP[1] and (version_of(facts.l4t) or L4T_OF_11) < L4T_OF_11:
        named = f"{jetson.jetpack} (L4T {facts.l4t})" if jetson.jetpack else f"L4T {facts.l4t}"
        what = f"TensorRT {text} needs JetPack 7.2.2 or later; this is {named}"
        return [trap(what, "Use the TensorRT that JetPack brings: sudo apt install python3-libnvinfer")]
    return []


def _lacks_dla_library(facts: MachineFacts, jetson: Jetson) -> bool:
    """Whether `import tensorrt` fails for want of libnvdla_compiler.so.

    It needs the library on JetPack 6, and from 7.2 on in containers with a TensorRT before 10.16.
    """
    if "libnvdla_compiler" in facts.libraries:
        return False
    generation = (version_of(jetson.jetpack) or (0,))[0]
    removed = generation == 7 and (version_of(facts.l4t) or (0,)) >= L4T_OF_72
    version = version_of(tensorrt_of(facts)) or HOSTS_OF_72
    return generation == 6 or (removed and facts.container and version < HOSTS_OF_72)


def _dla_library(jetson: Jetson) -> Symptom:
    what = "libnvdla_compiler.so is missing: TensorRT cannot be imported without it"
    if (version_of(jetson.jetpack) or (0,))[0] == 6:
        return trap(what, "sudo apt install nvidia-l4t-dla-compiler (on the host, where this is a container)")
    return trap(
        f"{what}; JetPack 7.2 no longer has it, and containers made for older releases need it",
        "Use the host's own TensorRT, or a container made for JetPack 7.2 or later.",
    )


def traps(facts: MachineFacts, jetson: Jetson | None) -> list[Symptom]:
    """Known problems of the installed version, though it runs."""
    known: list[Symptom] = []
    version = version_of(tensorrt_of(facts))
    if version is None:
        return known
    if version[:3] == BROKEN:
        known.append(trap("TensorRT 10.2.0 is reported to be faulty", "Take 10.3 or later."))
    if OLDEST <= version < (10, 4):
        what = "TensorRT 10.0 to 10.3 (JetPack 6) read ONNX up to opset 20, which exported files have"
        known.append(trap(what, "Check files of other origin with: calkd-edge lint MODEL.onnx"))
    if jetson is not None and jetson.dla.startswith("DLA cores, which"):
        what = f"{jetson.dla}: 10.7 was the last, 11.4.1 has them again on AGX Orin"
        known.append(trap(what, "Remove devices.options.dla_core."))
    if jetson is not None and facts.container:
        what = "this is a container: its TensorRT is not that of JetPack, and engines fit only its version"
        known.append(trap(what, "Build and run in the same container."))
    return known

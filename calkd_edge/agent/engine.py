"""Building TensorRT engines: once, on the device that runs them, strongly typed.

The ONNX file holds the precision (explicit Q/DQ, typed fp16), the only way that TensorRT 11 knows. An engine
fits one GPU and one version of TensorRT.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from typing import Any, Callable

from calkd_edge.agent.engine_options import complete, timing_cache_file
from calkd_edge.agent.problem import AgentProblem

OLDEST = 10

NO_ACCESS = (
    "Is the GPU accessible to this user? Compare `id` with `ls -l /dev/nv*`; on a Jetson add it to its "
    "groups: sudo usermod -aG video,render $USER, then log in again. In a container use --runtime nvidia."
)


def load(name: str) -> Any:
    """Import the module, in a version that takes explicit quantization and strong types.

    Raises:
        AgentProblem: it is missing, or too old.
    """
    try:
        trt = importlib.import_module(name)
    except Exception as missing:  # also a package of another Python or numpy
        raise AgentProblem(
            f"{name} cannot be imported by this Python: {missing}",
            "On a Jetson it comes with JetPack (sudo apt install python3-libnvinfer); in a venv use "
            "--system-site-packages. For libnvdla_compiler.so: sudo apt install nvidia-l4t-dla-compiler.",
        ) from missing
    if name == "tensorrt" and int(trt.__version__.split(".")[0]) < OLDEST:
        raise AgentProblem(
            f"TensorRT {trt.__version__} is too old: explicit int8 of these files needs {OLDEST}.0",
            "Install JetPack 6.1 or later, which brings TensorRT 10.3.",
        )
    return trt


def build(job: dict[str, Any]) -> dict[str, object]:
    """Build job["engine"] from the ONNX file job["model"]; returns its SHA-256, size, seconds and options.

    Raises:
        AgentProblem: TensorRT refuses the file, with node and reason, or cannot build it.
    """
    options = complete(job["options"])
    trt = load(options["module"])
    start = time.perf_counter()
    logger, messages = logger_of(trt)
    plan = plan_of(trt, logger, messages, job["model"], options)
    seconds = time.perf_counter() - start
    temporary = "{}.{}".format(job["engine"], os.getpid())
    with open(temporary, "wb") as handle:
        handle.write(plan)
    os.replace(temporary, job["engine"])
    warning = int(trt.ILogger.Severity.WARNING)
    return {
        "sha256": hashlib.sha256(plan).hexdigest(),
        "size_bytes": len(plan),
        "seconds": seconds,
        "tensorrt": trt.__version__,
        "options": options,
        "warnings": [message for severity, message in messages if severity == warning][:20],
    }


def logger_of(trt: Any, everything: bool = False) -> tuple[Any, list[tuple[int, str]]]:
    """A logger, and the list of (severity, message) that it fills: errors and warnings, or everything."""
    messages: list[tuple[int, str]] = []

    class Log(trt.ILogger):  # type: ignore[misc]  # its class is known only at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            # Thousands of lines are of lower severity, and each would be kept.
            if everything or int(severity) <= int(trt.ILogger.Severity.WARNING):
                messages.append((int(severity), message))

    return Log(), messages


def last_error(trt: Any, messages: list[tuple[int, str]]) -> str:
    """TensorRT's own words: the last error that it logged."""
    worst = int(trt.ILogger.Severity.ERROR)
    errors = [message for severity, message in messages if severity <= worst]
    return errors[-1] if errors else "no reason given"


def created(trt: Any, name: str, messages: list[tuple[int, str]], create: Callable[[], Any]) -> Any:
    """What `create` returns.

    Raises:
        AgentProblem: TensorRT created nothing, as where this user cannot use the GPU.
    """
    try:
        result = create()
    except TypeError as error:
        if "nullptr" not in str(error):
            raise
        result = None
    if result is None:
        raise AgentProblem(
            f"TensorRT {trt.__version__} cannot create its {name}: {last_error(trt, messages)}",
            NO_ACCESS,
        )
    return result


def check_access(module: str) -> None:
    """Check that TensorRT can use the GPU.

    Raises:
        AgentProblem: it cannot, in its own words.
    """
    trt = importlib.import_module(module)
    logger, messages = logger_of(trt)
    created(trt, "Builder", messages, lambda: trt.Builder(logger))


def plan_of(
    trt: Any, logger: Any, messages: list[tuple[int, str]], model: str, options: dict[str, Any]
) -> bytes:
    """The serialized engine of an ONNX file.

    Raises:
        AgentProblem: the parser refuses it, with node and reason, or the builder fails.
    """
    builder = created(trt, "Builder", messages, lambda: trt.Builder(logger))
    flags = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    # TensorRT 11 is always strongly typed and will drop the flag; its number differs between products.
    kind = 0 if flags is None else 1 << int(flags)
    network = created(trt, "network", messages, lambda: builder.create_network(kind))
    parser = created(trt, "parser", messages, lambda: trt.OnnxParser(network, logger))
    if not parser.parse_from_file(model):
        error = parser.get_error(0) if parser.num_errors else None
        reason = (
            f"{error.node_name()} ({error.node_operator()}): {error.desc()}" if error else "no reason given"
        )
        raise AgentProblem(
            f"TensorRT {trt.__version__} refuses {model}: {reason}",
            "Check it with: calkd-edge lint MODEL.onnx",
        )
    settings = _settings(trt, builder, network, messages, options)
    name = options["timing_cache"]
    cache = None if name is None else timing_cache_file(name)
    if cache is not None:
        _use_timing_cache(settings, cache)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise AgentProblem(
            f"TensorRT {trt.__version__} cannot build {model}: {last_error(trt, messages)}",
            "Free memory on the device, or change devices.options.workspace_mib.",
        )
    if cache is not None:
        _replace(cache, bytes(settings.get_timing_cache().serialize()))
    return bytes(plan)


def _settings(
    trt: Any, builder: Any, network: Any, messages: list[tuple[int, str]], options: dict[str, Any]
) -> Any:
    settings = created(trt, "builder configuration", messages, builder.create_builder_config)
    # Float32 means float32: TensorRT rounds products to TF32 by default, from Ampere on.
    settings.clear_flag(trt.BuilderFlag.TF32)
    settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options["workspace_mib"]) << 20)
    settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options["optimization_level"] is not None:
        settings.builder_optimization_level = int(options["optimization_level"])
    profile = created(trt, "optimization profile", messages, builder.create_optimization_profile)
    for number in range(network.num_inputs):
        value = network.get_input(number)
        sizes = tuple(value.shape)
        most = int(options["max_images"])
        # Tuned for one image a run; a DLA takes one shape alone.
        counts = (1, 1, most) if options["dla_core"] is None else (most, most, most)
        least, usual, largest = (tuple(n if size < 0 else size for size in sizes) for n in counts)
        profile.set_shape(value.name, least, usual, largest)
    if settings.add_optimization_profile(profile) < 0:
        raise AgentProblem(
            f"TensorRT {trt.__version__} refuses {options['max_images']} images a run: "
            f"{last_error(trt, messages)}",
            "Change devices.options.max_images.",
        )
    if options["dla_core"] is not None:
        _use_dla(trt, builder, settings, int(options["dla_core"]))
    if options["capability"] is not None:
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(getattr(trt.ComputeCapability, options["capability"]), 0)
    return settings


def _use_dla(trt: Any, builder: Any, settings: Any, core: int) -> None:
    """Put every layer on a DLA core; a layer that it cannot run fails the build, without a fallback."""
    if core >= builder.num_DLA_cores:
        raise AgentProblem(
            f"there is no DLA core {core}: this device has {builder.num_DLA_cores}",
            "Remove dla_core (Orin Nano and Thor have no DLA; TensorRT 10.8 to 11.4.0 do not support it).",
        )
    settings.default_device_type = trt.DeviceType.DLA
    settings.DLA_core = core


def _use_timing_cache(settings: Any, path: str) -> None:
    content = b""
    if os.path.exists(path):
        with open(path, "rb") as handle:
            content = handle.read()
    cache = settings.create_timing_cache(content) or settings.create_timing_cache(b"")
    settings.set_timing_cache(cache, ignore_mismatch=False)


def _replace(path: str, content: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as handle:
        handle.write(content)
    os.replace(temporary, path)

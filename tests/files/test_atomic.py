"""Files that are replaced: complete or not at all, with nothing left beside them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from calkd_edge.files import replacing, write_atomically

KILLED = """
import os, signal, sys
from pathlib import Path
from calkd_edge.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_goes_with_the_next_write_to_the_same_name(tmp_path):
    (tmp_path / ".out.onnx.original").write_text("the user's")
    for name in ("out.onnx", "other.onnx"):
        path = os.pathsep.join(sys.path)
        line = [sys.executable, "-c", KILLED, str(tmp_path / name)]
        assert subprocess.run(line, env={**os.environ, "PYTHONPATH": path}).returncode == -9
    assert len(names(tmp_path)) == 3
    write_atomically(tmp_path / "out.onnx", b"whole")
    other, original, new = names(tmp_path)
    assert (other.startswith(".other.onnx."), original, new) == (True, ".out.onnx.original", "out.onnx")


def test_file_of_a_living_writer_stays(tmp_path):
    target = tmp_path / "out.onnx"
    with replacing(target) as temporary:
        temporary.write_bytes(b"first")
        write_atomically(target, b"second")
        assert temporary.read_bytes() == b"first"
    assert (names(tmp_path), target.read_bytes()) == (["out.onnx"], b"first")


def test_writers_of_one_name_at_once_all_end_whole(tmp_path):
    target, failures = tmp_path / "out.onnx", []

    def write(letter: bytes) -> None:
        try:
            for _ in range(60):
                write_atomically(target, letter * 5000)
                assert len(set(target.read_bytes())) == 1
        except BaseException as failed:
            failures.append(failed)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, names(tmp_path)) == ([], ["out.onnx"])

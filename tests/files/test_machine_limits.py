"""A limit of the machine is named, and no reader of files takes it for damage."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from unprivileged import unprivileged

from calkd_edge.data.prepared import Prepared
from calkd_edge.errors import CalkdError, EnvironmentProblem, StoreError
from calkd_edge.files import sha256_of
from calkd_edge.files.arrays import map_array, read_array, read_arrays
from calkd_edge.files.bounded import read_bounded
from calkd_edge.files.full_disk import naming_full_disk, temporary_place
from calkd_edge.files.machine_limits import LIMITS, machine_limit
from calkd_edge.files.named_by_digest import first_intact, write_with_digest
from calkd_edge.models.image_model import describe


def test_a_run_with_few_open_files_names_the_limit(tiny, tmp_path):
    """None of its messages says that the store is damaged, or is to be made writable."""
    line = (
        f"{sys.executable} -m calkd_edge compress {tiny.recipe} --store {tiny.store} --out {tmp_path / 'out'}"
    )
    for most in (14, 26):
        done = subprocess.run(
            ["sh", "-c", f"ulimit -n {most}; {line}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 6, done.stderr
        assert "ulimit -n 4096" in done.stderr


@contextmanager
def no_more_files():
    """Every free descriptor of this process is taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def opened(path):
    with naming_full_disk(temporary_place()):
        path.read_bytes()


READERS = [read_bounded, read_arrays, read_array, map_array, sha256_of, opened]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_too_many_open_files_are_no_damage_of_a_file(read, tmp_path):
    path = tmp_path / "some.npy"
    np.save(path, np.arange(3))
    with no_more_files(), pytest.raises(EnvironmentProblem, match=r"some.npy .*ulimit -n: 256") as refused:
        read(path)
    assert refused.value.remedy.endswith("ulimit -n 4096")


@pytest.mark.parametrize("read", [Prepared.open, describe])
def test_too_many_open_files_are_no_damage_of_a_published_folder(read, tmp_path):
    for name in ("classes.json", "model.json"):
        (tmp_path / name).write_text("{}")
    with no_more_files(), pytest.raises(EnvironmentProblem, match="ulimit -n") as refused:
        read(tmp_path)
    assert not isinstance(refused.value, StoreError)


def test_a_checkpoint_that_cannot_be_opened_now_is_kept(tmp_path):
    path = tmp_path / "epoch-1.0.ckpt"
    path.write_bytes(b"0")
    with no_more_files(), pytest.raises(CalkdError):
        first_intact([path])
    assert path.exists()


def test_a_checkpoint_that_must_not_be_read_is_kept():
    with unprivileged() as folder:
        older, newer = (
            write_with_digest(folder / f"epoch-{n}.ckpt", lambda s: s.write(b"x")) for n in (1, 2)
        )
        newer.chmod(0)
        with pytest.raises(EnvironmentProblem, match=f"{newer}.*Permission denied") as refused:
            first_intact([newer, older])
        assert refused.value.remedy.endswith(f"rm {newer}")
        assert newer.exists()


def test_a_checkpoint_that_is_gone_meanwhile_is_passed_over(tmp_path):
    path = write_with_digest(tmp_path / "epoch-1.ckpt", lambda stream: stream.write(b"x"))
    assert first_intact([tmp_path / f"epoch-2.{'0' * 64}.ckpt", path]) == path


@pytest.mark.parametrize("number", LIMITS)
def test_every_limit_has_a_remedy_and_other_errors_have_none(number):
    problem = machine_limit(OSError(number, "text", "FILE"))
    assert problem.message.startswith("FILE cannot be read: ")
    assert machine_limit(OSError(errno.ENOENT, "text")) is None

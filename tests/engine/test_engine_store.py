"""Published folders: complete or absent, checked when reused, refused when damaged or of another version."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from chain_stages import Silent
from tiny_run import command, journal
from unprivileged import unprivileged

from calkd_edge.engine.collect import collect, remember_run
from calkd_edge.engine.runner import Runner
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import EnvironmentProblem, StageFailed, StoreError
from calkd_edge.files import sha256_of, write_atomically


def write(job):
    """Write one file and a nested one."""
    (job.out / "a.txt").write_text("content")
    (job.out / "deep").mkdir()
    (job.out / "deep" / "b.bin").write_bytes(bytes(range(256)))


def refuse(job):
    """Write a file, then fail."""
    (job.out / "half.txt").write_text("half")
    (job.scratch / "kept.txt").write_text("kept")
    raise StageFailed("the input is not what it should be", remedy="Give another.")


def crash(job):
    """A bug."""
    (job.out / "half.txt").write_text("half")
    raise ZeroDivisionError


def fill_the_disk(job):
    """The disk is full."""
    raise OSError(errno.ENOSPC, "No space left on device")


def exhaust_memory(job):
    """Memory is out."""
    raise MemoryError


def lose_a_file(job):
    """An OSError that is neither a full disk nor a lack of memory."""
    raise FileNotFoundError(errno.ENOENT, "gone")


def stage_of(function=write, **params):
    return Stage(function.__name__, f"{function.__module__}:{function.__name__}", 1, params)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def runner(store):
    return Runner(store, Silent(), lambda: {"threads": 1})


def test_second_run_reuses_the_folder(runner):
    first = runner.run(stage_of())
    second = runner.run(stage_of())
    assert (first.reused, second.reused) == (False, True)
    assert first.folder == second.folder
    events = [(line["event"], line["stage"]) for line in journal(runner.store.root)]
    assert events == [("started", "write"), ("published", "write")]


def test_manifest_names_every_file_and_the_stage(runner):
    place = runner.run(stage_of(width=0.5)).folder
    manifest = runner.store.manifest(place)
    assert set(manifest["files"]) == {"a.txt", "deep/b.bin"}
    assert manifest["params"] == {"width": 0.5}
    assert manifest["threads"] == 1
    assert runner.store.problems(place) == []


def test_large_file_that_is_written_to_after_it_was_checked_is_read_whole(runner, monkeypatch):
    monkeypatch.setattr("calkd_edge.engine.store.HASHED_ON_REUSE_BYTES", 0)
    place = runner.run(stage_of()).folder
    assert runner.run(stage_of()).reused, "looked at by size alone"
    (place / "a.txt").write_text("CONTENT")
    with pytest.raises(StoreError, match="a.txt differs from its SHA-256"):
        runner.run(stage_of())


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: (path / "a.txt").write_text("CONTENT"), "a.txt differs from its SHA-256"),
        (lambda path: (path / "a.txt").write_text("shorter"[:3]), "a.txt has 3 bytes instead of 7"),
        (lambda path: (path / "deep" / "b.bin").unlink(), "deep/b.bin is missing"),
        (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda path: (path / "manifest.json").write_text("{"), "manifest.json is missing or is not JSON"),
    ],
    ids=["altered", "cut", "lost", "no manifest", "broken manifest"],
)
def test_damaged_folder_is_refused_with_file_and_remedy(runner, damage, named):
    place = runner.run(stage_of()).folder
    damage(place)
    with pytest.raises(StoreError) as refused:
        runner.run(stage_of())
    assert named in refused.value.message
    assert refused.value.remedy.endswith(f"rm -r {place}")
    assert refused.value.exit_code == 6
    done = command("store", "check", "--store", runner.store.root)
    assert done.code == 3
    assert named in done.out


def test_sound_store_passes_its_check(runner):
    runner.run(stage_of())
    done = command("store", "check", "--store", runner.store.root)
    assert done.code == 0
    assert "1 published folders" in done.out


def test_store_of_another_format_is_refused(tmp_path):
    root = Store(tmp_path / "store").root
    (root / "format").write_text("2\n")
    with pytest.raises(StoreError, match="has format 2; this calkd-edge reads 1"):
        Store(root)
    assert command("store", "check", "--store", root).code == 6


def test_manifest_of_a_newer_schema_is_refused(runner):
    place = runner.run(stage_of()).folder
    manifest = json.loads((place / "manifest.json").read_text())
    (place / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 2}))
    (place / "manifest.sha256").write_text(f"{sha256_of(place / 'manifest.json')}  manifest.json\n")
    with pytest.raises(StoreError, match="has schema 2; this calkd-edge reads 1"):
        runner.run(stage_of())
    assert command("store", "check", "--store", runner.store.root).code == 6


def test_store_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file")


@pytest.mark.parametrize("function", [refuse, crash])
def test_failed_stage_publishes_nothing_and_keeps_its_scratch(runner, function):
    stage = stage_of(function)
    with pytest.raises((StageFailed, ZeroDivisionError)):
        runner.run(stage)
    assert runner.store.published(stage) is None
    assert runner.store.folders() == []
    assert [line["event"] for line in journal(runner.store.root)] == ["started"]
    assert (runner.store.root / "work" / stage.fingerprint / "scratch").is_dir()


def test_failed_stage_gives_its_name_to_the_error(runner):
    with pytest.raises(StageFailed) as refused:
        runner.run(stage_of(refuse))
    assert refused.value.stage == "refuse"


@pytest.mark.parametrize(
    ("function", "sentence"), [(fill_the_disk, "the disk under"), (exhaust_memory, "not enough memory")]
)
def test_lack_of_disk_or_memory_is_an_environment_problem(runner, function, sentence):
    with pytest.raises(EnvironmentProblem, match=sentence) as lacking:
        runner.run(stage_of(function))
    assert function.__name__ in lacking.value.message
    assert lacking.value.exit_code == 6


def test_full_disk_while_publishing_is_an_environment_problem_too(runner, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("calkd_edge.engine.manifest.write_atomically", full)
    with pytest.raises(EnvironmentProblem, match="is full"):
        runner.run(stage_of())
    monkeypatch.undo()
    assert not runner.run(stage_of()).reused


def test_other_os_errors_stay_bugs(runner):
    with pytest.raises(FileNotFoundError):
        runner.run(stage_of(lose_a_file))


def test_leftovers_of_an_earlier_attempt_are_not_published(runner):
    stage = stage_of()
    work = runner.store.begin(stage)
    (work.out / "torn.txt").write_text("of a killed attempt")
    place = runner.run(stage).folder
    assert not (place / "torn.txt").exists()
    assert not (runner.store.root / "work" / stage.fingerprint).exists()


def test_reuse_removes_the_remains_of_a_kill_after_the_rename(runner):
    stage = stage_of()
    runner.run(stage)
    runner.store.begin(stage)
    runner.run(stage)
    assert not (runner.store.root / "work" / stage.fingerprint).exists()


def test_discarded_stage_runs_again(runner):
    runner.run(stage_of())
    runner.store.discard(stage_of())
    assert not runner.run(stage_of()).reused
    events = [line["event"] for line in journal(runner.store.root)]
    assert events == ["started", "published", "discarded", "started", "published"]


def test_collect_removes_unlisted_folders_and_returns_their_size(runner):
    kept = runner.run(stage_of(n=1))
    gone = runner.run(stage_of(n=2))
    size = sum(path.stat().st_size for path in gone.folder.rglob("*") if path.is_file())
    collected = collect(runner.store, {kept.folder.name})
    assert (collected.removed, collected.freed_bytes) == (1, size)
    assert runner.store.folders() == [kept.folder]


def test_collect_keeps_folders_that_another_process_uses(runner):
    working, idle = stage_of(n=1), stage_of(n=2)
    published = runner.run(stage_of(n=3))
    scratch = runner.store.begin(working).scratch
    forgotten = runner.store.begin(idle).scratch
    with runner.store.lock(working), runner.store.lock(stage_of(n=3)):
        collected = collect(runner.store, set())
    assert (collected.removed, len(collected.in_use)) == (1, 2)
    assert scratch.is_dir()
    assert published.folder.is_dir()
    assert not forgotten.exists()


def test_collect_keeps_what_a_kept_stage_resumes_from(runner):
    begun, done = stage_of(refuse, n=1), stage_of(n=2)
    with pytest.raises(StageFailed):
        runner.run(begun)
    runner.run(done)
    remains = runner.store.begin(done).scratch  # as a kill between rename and clean-up leaves them
    work = runner.store.root / "work" / begun.fingerprint
    collected = collect(runner.store, {begun.fingerprint, done.fingerprint})
    assert (work / "scratch" / "kept.txt").read_text() == "kept"
    assert not (work / "out").exists()
    assert not remains.exists()
    assert (collected.removed, collected.freed_bytes) == (2, len("half"))
    assert collect(runner.store, {done.fingerprint}).removed == 1
    assert not work.exists()


def test_collect_removes_nothing_while_a_note_of_a_run_cannot_be_read():
    with unprivileged() as root:
        runner = Runner(Store(root / "store"), Silent(), dict)
        student, added = stage_of(n=1), stage_of(n=2)
        folders = [runner.run(stage).folder for stage in (student, added)]
        remember_run(runner.store, "recipe", student, [student, added])
        (note,) = (root / "store" / "runs").iterdir()
        note.chmod(0)
        with pytest.raises(EnvironmentProblem, match=f"{note}.*Permission denied"):
            collect(runner.store, {student.fingerprint})
        assert note.exists()
        assert all(folder.is_dir() for folder in folders)


def test_file_is_written_completely_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def fail(*_):
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        write_atomically(target, b"new and longer")
    assert target.read_bytes() == b"old"

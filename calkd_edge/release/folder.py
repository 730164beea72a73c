"""The folder of one release: report, models and bundle of one run, complete or recognisably not.

SHA256SUMS comes last and is removed first: a folder without it holds no finished release. The old bundle is
gone before anything of the next release appears. While the files of a release are removed or written, a list
of them lies beside it: after a kill it tells the files of a release from the user's own.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from calkd_edge.errors import EnvironmentProblem, RecipeError, StoreError
from calkd_edge.files import sha256_of, write_atomically
from calkd_edge.files.atomic import sync
from calkd_edge.files.bounded import Unreadable
from calkd_edge.records import Json
from calkd_edge.release.bundle import SUMS
from calkd_edge.release.contents import (
    BUNDLE,
    FILE,
    LOG,
    MODELS,
    STAGED,
    journals,
    kind_of,
    odd,
    own_names,
    read_sums,
    surplus,
)
from calkd_edge.release.report.report import HTML_NAME, JSON_NAME

log = logging.getLogger(__name__)

WITHDRAWN = "withdrawn"
"""A folder beside the files of a release: the one of another recipe that a run has taken away."""

MOST_NAMED = 5
"""Files that a refusal names."""


class ReleaseFolder:
    """A folder for one release at a time.

    Args:
        path: of the folder; made when it is first held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Refuse a folder where the user's own files stand at a release's places; nothing is written.

        Raises:
            RecipeError: naming them.
        """
        wrong = odd(self.path)
        if not wrong:
            own = own_names(self.path)
            wrong = [SUMS] if kind_of(self.path / SUMS) and SUMS not in own else []
            wrong += surplus(self.path, own)
            aside = self.path / WITHDRAWN
            is_kept = aside.is_dir() and not aside.is_symlink() and kind_of(aside / SUMS) == FILE
            wrong += [WITHDRAWN] if kind_of(aside) and not is_kept else []
        if wrong:
            more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
            raise RecipeError(
                f"--out {self.path}: there are files that no release put there: "
                f"{', '.join(wrong[:MOST_NAMED])}{more}",
                remedy="Name another folder (--out DIR), or move them elsewhere.",
            )

    def names(self) -> set[str]:
        """Names of the files that a release put there, relative to the folder."""
        return own_names(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder, and remove what a killed one left.

        Raises:
            EnvironmentProblem: another run holds it.
            RecipeError: it holds files that would be overwritten and are no release's.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EnvironmentProblem(
                    f"another run writes into {self.path}",
                    remedy="Wait until it has ended, or name another folder: --out DIR",
                ) from None
            except OSError as unable:  # a file system without locks on folders
                log.warning("%s cannot be locked (%s): let no other run write there", self.path, unable)
            self.check()
            self._sweep()
            yield
        finally:
            os.close(handle)
            with suppress(OSError):
                self.path.rmdir()  # where nothing was written, nothing is left

    def withdraw_other(self, recipe: Mapping[str, Json]) -> bool:
        """Take away a release that was made by another recipe, so that it is not taken for this one's.

        It is kept in the folder WITHDRAWN until the next release appears; returns whether there was one.
        """
        report = self.path / JSON_NAME
        try:
            same = json.loads(report.read_text(encoding="utf-8"))["recipe"] == recipe
        except FileNotFoundError:
            same = False
        except (OSError, ValueError, TypeError, KeyError, RecursionError):  # damaged: nobody's release
            same = False
        is_kept = not same and kind_of(self.path / SUMS) == FILE
        if is_kept:
            self._keep_aside()
        if not same:
            self.withdraw()
        return is_kept

    def _keep_aside(self) -> None:
        """Copy the release into WITHDRAWN, in place of what an earlier run kept there."""
        staged = Path(tempfile.mkdtemp(prefix=STAGED, dir=self.path))
        for name in sorted({*own_names(self.path), SUMS}):
            if kind_of(self.path / name) == FILE:
                (staged / name).parent.mkdir(exist_ok=True)
                shutil.copy2(self.path / name, staged / name)
        staged.chmod(0o755)
        shutil.rmtree(self.path / WITHDRAWN, ignore_errors=True)
        os.replace(staged, self.path / WITHDRAWN)

    def withdraw(self) -> None:
        """Remove the release; other files of the folder stay."""
        names, journal = own_names(self.path), self.path / f"{STAGED}withdrawn"
        with suppress(FileNotFoundError):
            os.replace(self.path / SUMS, journal)
        self._remove(names)
        journal.unlink(missing_ok=True)

    def _remove(self, names: Iterable[str]) -> None:
        for name in sorted(names, key=lambda name: (name == JSON_NAME, name)):  # it names the rest
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # other files may lie there
            (self.path / MODELS).rmdir()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A folder for the next release's files, which `publish` brings to their places; else removed."""
        folder = Path(tempfile.mkdtemp(prefix=STAGED, dir=self.path))
        try:
            yield folder
        finally:
            self._sweep()

    def publish(self, staged: Path) -> None:
        """Replace the release by the files of a staged folder; SHA256SUMS comes last.

        All files are on the disk before the old release goes: what follows moves them.
        """
        names = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())
        sums = {name: sha256_of(staged / name) for name in names}
        lines = "".join(f"{sums[name]}  {name}\n" for name in names).encode()
        write_atomically(staged / SUMS, lines)  # after a kill it tells which files are ours
        for name in names:
            sync(staged / name)
        self.withdraw()
        (self.path / MODELS).mkdir(exist_ok=True)
        for name in sorted(names, key=lambda name: name == BUNDLE):  # the bundle comes last
            os.replace(staged / name, self.path / name)
        os.replace(staged / SUMS, self.path / SUMS)
        sync(self.path)
        shutil.rmtree(self.path / WITHDRAWN, ignore_errors=True)

    def problems(self) -> list[str]:
        """What is wrong with the release, a sentence each: files that are missing, altered or surplus."""
        try:
            listed = read_sums(self.path / SUMS)
        except OSError:
            return [f"{SUMS} cannot be read: no finished release is in this folder"]
        except Unreadable as wrong:
            return [f"{SUMS} cannot be read, so no finished release is in this folder: {wrong}"]
        problems = [text for text in odd(self.path) if not text.startswith(LOG)]
        if problems:  # nothing is read through a link
            return problems
        problems = [f"{name} is surplus: {SUMS} does not list it" for name in surplus(self.path, listed)]
        for name in sorted({*listed, JSON_NAME, HTML_NAME}):
            path, kind = self.path / name, kind_of(self.path / name)
            if kind != FILE:
                problems.append(f"{name} is {kind or 'missing'}")
            elif name in listed and sha256_of(path) != listed[name]:
                problems.append(f"{name} was altered: its SHA-256 is not that of {SUMS}")
        return problems

    def _sweep(self) -> None:
        left = list(journals(self.path))
        if not kind_of(self.path / SUMS):
            self._remove(name for _, names in left for name in names)
        for path, _ in left:
            if kind_of(path) == FILE:
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)


def copy_measured(source: Path, target: Path, sha256: str) -> None:
    """Copy a model file that is still what was measured.

    Raises:
        StoreError: its content has changed; nothing is copied then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    if sha256_of(target) != sha256:
        target.unlink()
        raise StoreError(
            f"{source} has changed since it was measured, so nothing is released",
            remedy=f"Remove its folder and run again: rm -r {source.parent}",
        )

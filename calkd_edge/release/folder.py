"""The folder of one release: report, models and bundle of one run, complete or recognisably not.

SHA256SUMS is written last and removed first: a folder without it holds no finished release. The old bundle is
gone before anything of the next release appears.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import EnvironmentProblem, StoreError
from calkd_edge.files import sha256_of, write_atomically
from calkd_edge.records import Json
from calkd_edge.release.bundle import SUMS
from calkd_edge.release.report.report import HTML_NAME, JSON_NAME

log = logging.getLogger(__name__)

MODELS, BUNDLE = "models", "bundle.zip"
STAGED = ".release-"


class ReleaseFolder:
    """A folder for one release at a time.

    Args:
        path: of the folder; made when it is first held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder, and remove what a killed one left.

        Raises:
            EnvironmentProblem: another run holds it.
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
            self._sweep()
            yield
        finally:
            os.close(handle)
            with suppress(OSError):
                self.path.rmdir()  # where nothing was written, nothing is left

    def withdraw_other(self, recipe: Mapping[str, Json]) -> None:
        """Remove a release that was made by another recipe than this one, so that it is not taken for it."""
        report = self.path / JSON_NAME
        try:
            same = json.loads(report.read_text(encoding="utf-8"))["recipe"] == recipe
        except FileNotFoundError:
            same = False
        except (OSError, ValueError, TypeError, KeyError, RecursionError):  # damaged: nobody's release
            same = False
        if not same:
            self.withdraw()

    def withdraw(self) -> None:
        """Remove the release; other files of the folder stay."""
        for name in (SUMS, BUNDLE, JSON_NAME, HTML_NAME):
            (self.path / name).unlink(missing_ok=True)
        for path in self._models():
            path.unlink()
        with suppress(OSError):  # other files may lie there
            (self.path / MODELS).rmdir()

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """A folder for the next release's files, which `publish` brings to their places; else removed."""
        folder = Path(tempfile.mkdtemp(prefix=STAGED, dir=self.path))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path) -> None:
        """Replace the release by the files of a staged folder; SHA256SUMS is written last."""
        names = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())
        sums = {name: sha256_of(staged / name) for name in names}
        self.withdraw()
        (self.path / MODELS).mkdir(exist_ok=True)
        for name in sorted(names, key=lambda name: name == BUNDLE):  # the bundle comes last
            os.replace(staged / name, self.path / name)
        lines = "".join(f"{sums[name]}  {name}\n" for name in names)
        write_atomically(self.path / SUMS, lines.encode())

    def problems(self) -> list[str]:
        """What is wrong with the release, a sentence each: files that are missing, altered or surplus."""
        try:
            lines = (self.path / SUMS).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return [f"{SUMS} cannot be read: no finished release is in this folder"]
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        there = {str(path.relative_to(self.path)) for path in self._models()}
        there |= {name for name in (BUNDLE, JSON_NAME, HTML_NAME) if (self.path / name).is_file()}
        problems = [f"{name} is surplus: {SUMS} does not list it" for name in sorted(there - listed.keys())]
        for name, digest in sorted(listed.items()):
            if not (self.path / name).is_file():
                problems.append(f"{name} is missing")
            elif sha256_of(self.path / name) != digest:
                problems.append(f"{name} was altered: its SHA-256 is not that of {SUMS}")
        return problems

    def _models(self) -> list[Path]:
        kinds = {info.suffix for info in RUNTIMES.values()}  # those of added runtimes too
        return [path for path in (self.path / MODELS).glob("*") if path.suffix in kinds]

    def _sweep(self) -> None:
        for path in self.path.glob(f"{STAGED}*"):
            shutil.rmtree(path, ignore_errors=True)
        for name in (SUMS, BUNDLE, JSON_NAME, HTML_NAME):  # beside which a killed writer left its file
            for path in self.path.glob(f".{name}.*"):
                path.unlink()


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

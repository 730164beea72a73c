"""CIFAR-10 and CIFAR-100 from the official archive, downloaded if needed, or from the hub's parquet files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from calkd_edge.data.cifar_archive import CifarArrays, read_archive
from calkd_edge.data.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES
from calkd_edge.data.pixels import array_from_image, decode_image
from calkd_edge.data.source import (
    BrokenImage,
    ImageArray,
    ImageShape,
    Outline,
    Progress,
    Source,
    balanced,
    data_root,
)
from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files import file_digest
from calkd_edge.files.download import Checksum, download
from calkd_edge.records import IntArray

SHAPE: ImageShape = (3, 32, 32)
LICENSE = (
    "no explicit licence; cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
)


@dataclass(frozen=True)
class CifarFacts:
    """The differences between CIFAR-10 and CIFAR-100.

    Attributes:
        name: as registered; also a subfolder of the root that may contain the parquet files.
        url: folder of the official archive, without a slash at the end.
        archive: file name of the official archive.
        md5: of the archive, as its authors publish it.
        folder: the folder inside the archive.
        train, test: the archive's files of each part; `meta` contains the class names under `names_key`.
        labels_key: key of the labels in those files.
        label_column: column of the labels in the parquet layout.
        classes: names for parquet files without class names.
    """

    name: str
    url: str
    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names_key: str
    labels_key: str
    label_column: str
    classes: tuple[str, ...]


class _Cifar:
    facts: ClassVar[CifarFacts]

    def __init__(self, root: Path | None) -> None:
        self.root = data_root(root)

    def identity(self) -> str:
        """MD5 of the official archive if it is used or downloaded later, else SHA-256 of the parquet files.

        Raises:
            EnvironmentProblem: only the parquet layout exists and pyarrow is not installed.
            RecipeError: a part of the parquet layout is missing.
        """
        parquet = [] if self._archive() else self._parquet()
        if not parquet:
            return f"{self.facts.name}:archive:md5:{self.facts.md5}"
        digests = "".join(f"{file.name} {file_digest(file, 'sha256')}\n" for file in parquet)
        return f"{self.facts.name}:parquet:sha256:{hashlib.sha256(digests.encode()).hexdigest()}"

    def size(self) -> tuple[int, ImageShape]:
        """60,000 images of 3x32x32."""
        return 60_000, SHAPE

    def outline(self) -> Outline:
        """50,000 training and 10,000 test images, as many of each class."""
        number = len(self.facts.classes)
        return balanced(self.facts.classes, 50_000 // number, 10_000 // number)

    def open(self, scratch: Path, progress: Progress) -> Source:
        """The archive if the root contains it, else the parquet files, else the downloaded archive.

        Raises:
            EnvironmentProblem: no network, a wrong checksum, an unreadable file, or pyarrow is not installed.
            RecipeError: a part of the parquet layout is missing, or its columns belong to another data set.
        """
        archive = self._archive()
        parquet = [] if archive else self._parquet()
        if parquet:
            return self._open_parquet(parquet)
        if archive is None:
            archive = self.root / self.facts.archive
            download(
                f"{self.facts.url}/{self.facts.archive}",
                archive,
                checksum=Checksum("md5", self.facts.md5),
                progress=progress,
                remedy=f"Without a network: copy {self.facts.url}/{self.facts.archive} into {self.root}, "
                "or name a folder with the archive or the parquet layout: --set data.root=DIR",
            )
        return self._open_archive(archive)

    def _folders(self) -> list[Path]:
        top = [self.root, self.root / self.facts.name]
        return [*top, *(folder / inner for folder in top for inner in ("data", "plain_text"))]

    def _archive(self) -> Path | None:
        candidates = (folder / self.facts.archive for folder in self._folders()[:2])
        return next((file for file in candidates if file.is_file()), None)

    def _parquet(self) -> list[Path]:
        """Test files, then training files, of the first folder with any; empty if there are none."""
        for folder in self._folders():
            test, train = (sorted(folder.glob(f"{part}-*.parquet")) for part in ("test", "train"))
            if test and train:
                if find_spec("pyarrow") is None:
                    raise _pyarrow_missing(folder)
                return [*test, *train]
            if test or train:
                missing = "train" if test else "test"
                raise RecipeError(
                    f"data.root: {folder} contains parquet files but no {missing}-*.parquet",
                    remedy=f"Copy the {missing} files into the same folder.",
                )
        return []

    def _open_parquet(self, files: Sequence[Path]) -> Source:
        try:
            module = import_module("calkd_edge.data.cifar_parquet")
        except ModuleNotFoundError as missing:
            raise _pyarrow_missing(files[0].parent) from missing
        parts = {
            part: module.read_part(
                [file for file in files if file.name.startswith(part)],
                label_column=self.facts.label_column,
                classes=self.facts.classes,
            )
            for part in ("train", "test")
        }
        train, test = parts["train"], parts["test"]
        if train.classes != test.classes:
            raise RecipeError(
                f"data.root: the test files in {files[0].parent} have other class names than the train files",
                remedy="Use train and test files of the same data set.",
            )

        def decode(index: int) -> ImageArray:
            part, row = (train, index) if index < len(train.labels) else (test, index - len(train.labels))
            image = decode_image(part.content(row), _name(index, len(train.labels)))
            if image.size != (SHAPE[2], SHAPE[1]):
                raise BrokenImage(_name(index, len(train.labels)), f"its size is {image.size}, not (32, 32)")
            return array_from_image(image)

        return self._source(
            np.concatenate([train.labels, test.labels]),
            len(train.labels),
            classes=train.classes,
            decode=decode,
            shape_note="parquet layout; rows keep the files' order, which is not the official one",
        )

    def _open_archive(self, archive: Path) -> Source:
        if file_digest(archive, "md5") != self.facts.md5:
            raise EnvironmentProblem(
                f"{archive} is not the official archive: its MD5 is not {self.facts.md5}",
                remedy=f"Remove it and run again, or download {self.facts.url}/{self.facts.archive}",
            )
        facts = self.facts
        arrays: CifarArrays = read_archive(
            archive,
            folder=facts.folder,
            parts=(facts.train, facts.test),
            meta=facts.meta,
            names_key=facts.names_key,
            labels_key=facts.labels_key,
        )
        return self._source(
            arrays.labels,
            arrays.train_images,
            classes=arrays.classes,
            decode=lambda index: arrays.images[index].copy(),
            shape_note="official archive, official order",
        )

    def _source(
        self,
        labels: IntArray,
        train_images: int,
        *,
        classes: tuple[str, ...],
        decode: Callable[[int], ImageArray],
        shape_note: str,
    ) -> Source:
        return Source(
            labels=labels.astype(np.int64),
            official_test=np.arange(len(labels)) >= train_images,
            classes=classes,
            image_shape=SHAPE,
            decode=decode,
            name_of=lambda index: _name(index, train_images),
            license=LICENSE,
            input_note="32x32 RGB, unchanged",
            shape_note=shape_note,
        )


def _name(index: int, train_images: int) -> str:
    return f"train/{index}" if index < train_images else f"test/{index - train_images}"


def _pyarrow_missing(folder: Path) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{folder} contains parquet files, but pyarrow, which reads them, is not installed",
        remedy="Install it: pip install 'calkd-edge[parquet]'",
    )


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32 in 10 classes.

    Args:
        root: folder with the official archive or the parquet layout; where the archive is downloaded to.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    facts = CifarFacts(
        name="cifar10",
        url="https://www.cs.toronto.edu/~kriz",
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test=("test_batch",),
        meta="batches.meta",
        names_key="label_names",
        labels_key="labels",
        label_column="label",
        classes=CIFAR10_CLASSES,
    )

    def __init__(self, root: Path | None) -> None:
        super().__init__(root)


class Cifar100(_Cifar):
    """CIFAR-100: 50,000 training and 10,000 test images of 32x32 in 100 classes (the fine labels).

    Args:
        root: folder with the official archive or the parquet layout; where the archive is downloaded to.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    facts = CifarFacts(
        name="cifar100",
        url="https://www.cs.toronto.edu/~kriz",
        archive="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=("train",),
        test=("test",),
        meta="meta",
        names_key="fine_label_names",
        labels_key="fine_labels",
        label_column="fine_label",
        classes=CIFAR100_CLASSES,
    )

    def __init__(self, root: Path | None) -> None:
        super().__init__(root)

"""The runs of DESIGN.md as recipes: teachers, students, losses, and the cells that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from study import Wanted

RESNET, WRN, VGG = {"name": "resnet8x4"}, {"name": "wrn_16_2"}, {"name": "vgg8"}

TEACHERS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "resnet20": ({"name": "resnet20"}, {}),
    "resnet20, half": ({"name": "resnet20"}, {"length": 0.5}),
    "resnet20, double": ({"name": "resnet20"}, {"length": 2}),
    "resnet32": ({"name": "resnet32"}, {}),
    "resnet56": ({"name": "resnet56"}, {}),
    "resnet8x4": (RESNET, {}),
    "resnet8x4, half": (RESNET, {"length": 0.5}),
    "resnet8x4, double": (RESNET, {"length": 2}),
    "resnet8x4, smoothed 0.05": (RESNET, {"label_smoothing": 0.05}),
    "resnet8x4, smoothed 0.1": (RESNET, {"label_smoothing": 0.1}),
    "resnet8x4, smoothed 0.2": (RESNET, {"label_smoothing": 0.2}),
    "resnet8x4, mixup": (RESNET, {"mixing": {"name": "mixup", "alpha": 0.4}}),
    "resnet8x4, cutmix": (RESNET, {"mixing": {"name": "cutmix"}}),
    "resnet8x4, focal 3": (RESNET, {"focal_gamma": 3.0}),
    "resnet8x4, other seed": (RESNET, {"seed": 18}),
    "wrn_16_2": (WRN, {}),
    "wrn_16_2, other seed": (WRN, {"seed": 18}),
    "wrn_40_1": ({"name": "wrn_40_1"}, {}),
    "vgg8": (VGG, {}),
    "vgg8, no decay": (VGG, {"weight_decay": 0.0}),
    "vgg8, decay 2e-3": (VGG, {"weight_decay": 2e-3}),
}
"""Network and what differs from the common training; `length` is a factor of its epochs."""

STUDENTS = {
    "MobileNetV2 x0.5": {"name": "mobilenet_v2", "width": 0.5},
    "ShuffleNetV2 x0.5": {"name": "shufflenet_v2", "width": 0.5},
}
HEADLINE = ("resnet8x4", "wrn_16_2")
SWEPT = ("resnet8x4", "resnet8x4, smoothed 0.1")
TEMPERATURES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
TAU = 4.0


def _beside(weight: float, loss: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": "cross_entropy", "weight": weight}, dict(loss)]


def kd(tau: float, *, standardise: bool = False) -> list[dict[str, Any]]:
    """KD beside a tenth of cross-entropy."""
    loss = {"name": "kd", "weight": 0.9, "temperature": tau}
    return _beside(0.1, loss | ({"standardize": True} if standardise else {}))


LOSSES = {
    "kd": kd(TAU),
    "dkd": _beside(1.0, {"name": "dkd", "weight": 1.0, "warmup_epochs": 2.0}),
    "dist": _beside(1.0, {"name": "dist", "weight": 2.0}),
    "mlkd": _beside(1.0, {"name": "mlkd", "weight": 0.9}),
    "kd standardised": kd(TAU, standardise=True),
}
INT8 = {"name": "int8"}
LABELS = [{"name": "cross_entropy", "weight": 1.0}]
BY_NLL, RAW, FIXED = {"name": "temperature"}, {"name": "constant", "temperature": 1.0}, {"name": "constant"}
CALIBRATED = {"raw": RAW, "calibrated": BY_NLL, "T = 1.5": {**FIXED, "temperature": 1.5}}


@dataclass(frozen=True)
class Scale:
    """How much is trained: DESIGN.md names one for CPUs and one for CUDA devices."""

    root: str | None
    train_images: int | None
    teacher_epochs: int
    student_epochs: int
    seeds: tuple[int, ...]
    loss_views: int = 8

    @classmethod
    def of(cls, accelerator: str, root: str | None) -> Scale:
        """The scale of an accelerator."""
        if accelerator == "cuda":
            return cls(root, None, 40, 30, (17, 18, 19, 20, 21))
        return cls(root, 20_000, 20, 8, (17, 18, 19))


def _has_int8(scale: Scale, teacher: str, cell: str, seed: int) -> bool:
    """Whether a student is quantized too: the headline's and those from labels alone, by the first seed."""
    return teacher in HEADLINE and seed == scale.seeds[0] and cell in (*LOSSES, "labels")


def run(
    scale: Scale,
    teacher: str,
    student: str,
    losses: list[dict[str, Any]],
    calibrator: Mapping[str, Any],
    seed: int,
    **facts: Any,
) -> Wanted:
    """One student, as a recipe that `compress` runs whole."""
    network, changes = TEACHERS[teacher]
    length, decay = changes.get("length", 1), changes.get("weight_decay", 5e-4)
    rest = {key: value for key, value in changes.items() if key not in ("length", "weight_decay")}
    rate = 0.02 if network["name"].startswith("vgg") else 0.05
    common = {"images_per_step": 64, "schedule": {"name": "cosine", "warmup_epochs": 1}}
    data = {
        "name": "cifar100",
        "calibration_images": 5000,
        "augmentation": {"name": "crop_pad", "padding": 4},
    }
    if scale.train_images is not None:
        data["train_images"] = scale.train_images
    if scale.root is not None:
        data["root"] = scale.root
    recipe = {
        "version": 1,
        "name": "teacher_calibration",
        "data": data,
        "teacher": dict(network),
        "teacher_training": {
            "epochs": round(scale.teacher_epochs * length),
            "optimizer": {"name": "sgd", "lr": rate, "momentum": 0.9, "weight_decay": decay},
            **common,
            **rest,
        },
        "calibrator": dict(calibrator),
        "student": dict(STUDENTS[student]),
        "distill": {
            "epochs": scale.student_epochs,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4},
            "losses": losses,
            "soft_labels": {"views": min(scale.loss_views, scale.student_epochs)},
            "seed": seed,
            **common,
        },
        "benchmark": {"min_runs": 10, "min_seconds": 0.1},  # no time is a figure here
        "precisions": [{"name": "fp32"}, *([INT8] if _has_int8(scale, teacher, facts["cell"], seed) else ())],
    }
    if losses == LABELS:
        del recipe["distill"]["soft_labels"]
    facts = {"teacher": teacher, "student": student, "seed": seed, **facts}
    return Wanted(", ".join(str(fact) for fact in facts.values()), facts, recipe)


def correlation(scale: Scale) -> Iterator[Wanted]:
    """Every teacher, raw and calibrated, one seed; one teacher after another."""
    for teacher in TEACHERS:
        for student in STUDENTS:
            for how in ("raw", "calibrated"):
                facts = {"cell": "kd", "teacher_is": how}
                yield run(scale, teacher, student, LOSSES["kd"], CALIBRATED[how], scale.seeds[0], **facts)


def headline(scale: Scale, *losses: str) -> Iterator[Wanted]:
    """The headline's teachers, every loss, three ways of calibrating, every seed."""
    for teacher in reversed(HEADLINE):  # the one that trains faster first
        for seed in scale.seeds:
            for student in STUDENTS:
                for loss in losses or LOSSES:
                    for how, calibrator in CALIBRATED.items():
                        facts = {"cell": loss, "teacher_is": how}
                        yield run(scale, teacher, student, LOSSES[loss], calibrator, seed, **facts)


def sweep(scale: Scale) -> Iterator[Wanted]:
    """A teacher's temperature from half to four."""
    for teacher in SWEPT:
        for student in STUDENTS:
            for temperature in TEMPERATURES:
                calibrator = {**FIXED, "temperature": temperature}
                facts = {"cell": "sweep", "teacher_is": temperature}
                yield run(scale, teacher, student, LOSSES["kd"], calibrator, scale.seeds[0], **facts)


def moved_tau(scale: Scale, temperatures: Mapping[str, float]) -> Iterator[Wanted]:
    """The raw teacher, with the KD temperature moved by the teacher's own."""
    for teacher in HEADLINE:
        for seed in scale.seeds:
            for student in STUDENTS:
                moved = kd(round(TAU * temperatures[teacher], 4))
                facts = {"cell": "moved tau", "teacher_is": "raw"}
                yield run(scale, teacher, student, moved, RAW, seed, **facts)


def without_teacher(scale: Scale) -> Iterator[Wanted]:
    """Labels alone; the recipe's teacher is trained all the same, and not used."""
    for seed in scale.seeds:
        for student in STUDENTS:
            yield run(scale, HEADLINE[0], student, LABELS, RAW, seed, cell="labels", teacher_is="none")

"""How right a model is and how well its confidence says so."""

from __future__ import annotations

from pydantic import Field

from calkd_edge.records.base import Record


class Estimate(Record):
    """A measured value with its one-sided bounds, each at confidence `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95


class ReliabilityBin(Record):
    """One bin of a reliability diagram, (low_edge, high_edge], with exact bounds on its accuracy."""

    low_edge: float
    high_edge: float
    images: int
    mean_confidence: float | None
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


class AtThreshold(Record):
    """Images that reach a confidence threshold, and how many are right; precision None when none do."""

    threshold: float
    taken: int
    coverage: Estimate
    precision: Estimate | None


class GuaranteedThreshold(Record):
    """The lowest threshold at which a share of the answers is right, and what it came to on test images.

    With probability `level` over the calibration images, at least `precision` of the answers at or above
    `threshold` are right on new images like them; None where no threshold is shown to do that.
    """

    precision: float = Field(description="wanted share of right answers")
    level: float
    threshold: float | None
    calibration_images: int
    fewest_taken: int = Field(description="images that a threshold must take to show it, if all are right")
    calibration: AtThreshold | None = Field(description="on the images that it was chosen by")
    test: AtThreshold | None


class ConfidenceFigures(Record):
    """Further figures of confidence: to read beside ECE, never for a gate.

    `ece_floor_95` is the ECE that perfect calibration exceeds in 5 of 100 samples, `consistency_p` the share
    of such samples whose ECE is at least that of this model. `auroc` is None when all answers are right or
    all are wrong.
    """

    ece_floor_95: float = Field(description="ECE that perfect calibration exceeds in 5 of 100 samples")
    consistency_p: float = Field(description="how often perfect calibration shows an ECE this large")
    ece_classwise: float = Field(description="static calibration error (SCE), equal width, mean over classes")
    rmsce: float = Field(description="root mean squared gap of equal-width bins")
    l2_debiased: float = Field(description="the same with equal-mass bins, minus the variance of accuracy")
    mce: float = Field(description="largest gap of any equal-width bin")
    smece: float = Field(description="smooth ECE")
    ks: float = Field(description="Kolmogorov-Smirnov error")
    brier_toplabel: float = Field(description="mean (confidence - correct)^2, 0..1")
    nll_refinement: float = Field(description="NLL minus the temperature gap: what no temperature can remove")
    auroc: float | None = Field(
        description="probability that a right answer is more confident than a wrong one"
    )
    aurc: float = Field(description="mean error rate among the k most confident, over k")


class ClassFigures(Record):
    """One class: its images, and the answers that name it; None where there are none to count."""

    label: int = Field(description="the class, as its place among the classes")
    images: int
    answered: int = Field(description="images on which the answer is this class")
    recall: Estimate | None = Field(description="share of its images that are recognised")
    precision: Estimate | None = Field(description="share of the answers naming it that are right")
    calibration_error: Estimate = Field(description="of its probability against its frequency, equal mass")


class Confused(Record):
    """Images of one class that are answered as another one."""

    label: int
    answer: int
    images: int


class Quality(Record):
    """How right a model is and how well its confidence says so, on one set of images.

    `ece_floor` is the ECE that a perfectly calibrated model with these confidences shows by chance;
    `temperature_gap` is NLL - NLL at the best temperature, cross-fitted: what one temperature could still
    improve.
    """

    images: int
    top1: Estimate
    top5: Estimate
    nll: Estimate
    brier: Estimate
    ece: Estimate
    ece_over: Estimate
    ece_under: Estimate
    ace_classwise: Estimate
    ace_toplabel: Estimate
    ece_floor: float
    temperature_gap: float
    mean_confidence: float
    confidence: ConfidenceFigures
    thresholds: tuple[AtThreshold, ...]
    bins: int
    reliability: tuple[ReliabilityBin, ...]
    confidence_histogram: tuple[int, ...] = Field(description="images per 1/20 of confidence, (a, b]")
    balanced_accuracy: Estimate | None = Field(
        None, description="mean recall of the classes that have images; None in older files"
    )
    worst_recall: Estimate | None = Field(
        None, description="lowest recall of any class, its bounds holding for all classes together"
    )
    by_class: tuple[ClassFigures, ...] = Field((), description="empty for uncalibrated files")
    confused: tuple[Confused, ...] = Field((), description="the most frequent wrong answers, most first")


class Evaluation(Quality):
    """The figures of a classifier that was made elsewhere; `data` says on which images.

    `assumed` holds everything that was inferred about the file and the data, `cautions` where that may be
    wrong.
    """

    data: str
    assumed: dict[str, str] = Field(default_factory=dict)
    cautions: tuple[str, ...] = ()

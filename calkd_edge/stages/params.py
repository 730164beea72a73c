"""What each stage may know: its typed parameters, with the stage's import path and the version of its output.

The plan builds these records, the stage validates them again. Their plain form enters the fingerprint, from
which an `Added` field is left out at its default. Nothing here imports a stage.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

from calkd_edge.records import Component, Json, LossComponent, Record, WeightsFacts

Versions = dict[str, str]
"""Installed packages that the output depends on, by name."""

TeacherMode = Literal["stored", "live", "none"]
"""Whether the teacher's logits are stored beforehand, computed in every step, or not used."""

ADDED = "added later"
Value = TypeVar("Value")
Added = Annotated[Value, ADDED]
"""A field that the stage did not have at first: at its default, fingerprints are those of before."""


class StageParams(Record):
    """Parameters that every stage may have; `plugins` holds the SHA-256 of each plugin module by its name."""

    function: ClassVar[str]
    version: ClassVar[int]

    plugins: Added[Versions] = {}

    def plain(self) -> dict[str, Json]:
        """The parameters as plain JSON values, as they enter the fingerprint."""
        fields = type(self).model_fields.items()
        added = {name: field.default for name, field in fields if ADDED in field.metadata}
        defaults = {name for name, default in added.items() if getattr(self, name) == default}
        return self.model_dump(mode="json", exclude=defaults)


class SplitParams(Record):
    """How a data set is split; see the recipe's section `data`."""

    calibration_images: int
    train_images: int | None
    test_images: int | None
    drop_duplicates: bool
    broken: Literal["refuse", "skip"]
    seed: int


class PrepareParams(StageParams):
    """The data set, by its identity and not by its location."""

    function, version = "calkd_edge.stages.prepare:run", 1
    dataset: str
    settings: dict[str, Json]
    identity: str
    splits: SplitParams
    distinct_test_images: Added[bool] = False


class StartParams(StageParams):
    """How a network starts: from its seed, from a weights file, or pretrained; files by their content."""

    weights_sha256: str | None
    pretrained: str | None
    freeze_epochs: int
    trained_on: Literal["train", "all_train", "other"] | None
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    head_scale: Added[float] = 1.0  # of a new head's initial parameters
    beside: Added[WeightsFacts | None] = None


class EpochParams(StageParams):
    """Which batches an epoch consists of, and over which images batch normalisation is measured."""

    augmentation: Component
    mixing: Component | None
    seed: int
    balance: Added[Literal["none", "sampler"]] = "none"
    batch_norm: Added[Literal["all_images", "drawn_images"]] = "all_images"
    mixes_classes: Added[bool] = False  # the sampler's rounds show the classes in a random order
    chooses_batch_norm: Added[bool] = False


class TeacherParams(StartParams, EpochParams):
    """A teacher that torch runs; `training` is the recipe's plain section, None for a weights file."""

    function, version = "calkd_edge.stages.teacher:run", 5
    model: Component
    training: dict[str, Json] | None


class OnnxTeacherParams(StageParams):
    """A teacher that is an ONNX file."""

    function, version = "calkd_edge.stages.onnx_teacher:run", 2
    model: Component
    weights_sha256: str
    trained_on: Literal["train", "all_train", "other"]
    orders_classes: Added[bool] = False


class SoftLabelsParams(StageParams):
    """The teacher's logits for `views` views of every training image; the `top` largest, None for all."""

    function, version = "calkd_edge.stages.soft_labels:run", 1
    views: int
    images_per_step: int
    augmentation: Component
    seed: int
    top: Added[int | None] = None


class LearningParams(EpochParams):
    """How a student learns from a teacher; `training` is the plain form of the recipe's section."""

    training: dict[str, Json]
    losses: tuple[LossComponent, ...]
    teacher_mode: TeacherMode


class DistillParams(LearningParams, StartParams):
    """A student, from its start to its last epoch."""

    function, version = "calkd_edge.stages.distill:run", 5
    model: Component


class QatParams(LearningParams):
    """Quantization-aware training of a distilled student."""

    function, version = "calkd_edge.stages.qat:run", 2
    ranges: Literal["min_max", "percentile", "mse", "entropy"]
    scales: Literal["free", "dyadic"]
    images: int


class ExportParams(StageParams):
    """An ONNX file of a network; `lineage` is the fingerprint of the stage that trained it."""

    function, version = "calkd_edge.stages.export:run", 1
    opset: int
    package_version: str
    lineage: str
    versions: Versions


class ParityParams(StageParams):
    """An exported file against torch, layer by layer."""

    function, version = "calkd_edge.stages.parity:run", 1
    versions: Versions


class QuantizeParams(StageParams):
    """An ONNX file in another precision.

    If it rounds, its file for ONNX Runtime's CPU has integers by measurement and keeps biases beyond int32.
    A teacher keeps its hard-sigmoids, and float16 too: ONNX Runtime's CPU fuses no clip there.
    """

    function, version = "calkd_edge.stages.quantize:run", 6
    precision: str
    settings: dict[str, Json]
    seed: int
    versions: Versions
    measures_values: Added[bool] = False
    hard_sigmoids_as_clips: Added[bool] = False
    fits_biases: Added[bool] = False


class ConvertParams(StageParams):
    """The canonical file in the format of a runtime that does not read ONNX."""

    function, version = "calkd_edge.stages.convert:run", 3
    runtime: str
    seed: int
    versions: Versions


class SimulateParams(StageParams):
    """Predictions of a quantized file with every operator computed as written."""

    function, version = "calkd_edge.stages.simulate:run", 3
    for_cpu: bool
    seed: int
    versions: Versions


class DeviceParams(StageParams):
    """A runtime on a device; `on` holds the device facts that a result depends on."""

    device: str
    runtime: str
    runtime_version: str
    options: dict[str, Json]
    on: dict[str, Json]


class BuildParams(DeviceParams):
    """An engine, compiled on the device."""

    function, version = "calkd_edge.stages.build:run", 2


class PredictParams(DeviceParams):
    """A file over splits: split -> how many of its images, None for all."""

    function, version = "calkd_edge.stages.predict:run", 1
    splits: dict[str, int | None]
    seed: int


class PredictCorruptedParams(DeviceParams):
    """A file over corrupted test images; `pillow` is the version that draws them and encodes JPEG."""

    function, version = "calkd_edge.stages.predict_corrupted:run", 2
    corruptions: tuple[str, ...]
    images: int
    seed: int
    pillow: str


class PrepareUnknownParams(StageParams):
    """Images of no class: which data set, by its identity, and how many of its images."""

    function, version = "calkd_edge.stages.prepare_unknown:run", 1
    dataset: str
    settings: dict[str, Json]
    identity: str
    images: int
    seed: int
    without_data: Added[bool] = False  # images of every split are left out, not of the test split alone


class PredictUnknownParams(DeviceParams):
    """A file over images of no class."""

    function, version = "calkd_edge.stages.predict_unknown:run", 1


class EvaluateUnknownParams(StageParams):
    """How confident a file is on images of no class."""

    function, version = "calkd_edge.stages.evaluate_unknown:run", 1
    thresholds: tuple[float, ...]


class BenchmarkParams(DeviceParams):
    """Latency of a file in fresh processes; `load` holds warm-up and minima of one process."""

    function, version = "calkd_edge.stages.benchmark:run", 3
    threads: int
    seed: int
    profile: str
    processes: int
    load: dict[str, Json]


class CalibrateParams(StageParams):
    """The map to fit on the calibration split."""

    function, version = "calkd_edge.stages.calibrate:run", 5
    calibrator: str
    settings: dict[str, Json]
    guaranteed_precisions: Added[tuple[float, ...]] = ()


class ScoreParams(StageParams):
    """How predictions are scored."""

    bins: int
    seed: int


class EvaluateParams(ScoreParams):
    """Figures of the test split."""

    function, version = "calkd_edge.stages.evaluate:run", 6
    thresholds: tuple[float, ...]
    guaranteed_precisions: Added[tuple[float, ...]] = ()


class EvaluateCorruptedParams(ScoreParams):
    """Figures of corrupted test images."""

    function, version = "calkd_edge.stages.evaluate_corrupted:run", 3
    thresholds: tuple[float, ...]
    corruptions: tuple[str, ...]


class CompareParams(ScoreParams):
    """Other maps for the same predictions; `held_out` fits on the half that no quantizer has chosen by."""

    function, version = "calkd_edge.stages.compare:run", 2
    methods: tuple[Component, ...]
    held_out: Added[bool] = False

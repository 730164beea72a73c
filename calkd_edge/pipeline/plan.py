"""plan(recipe) -> stages: the only file that knows the order of work.

teacher:  prepare -> teacher -> export -> predict raw -> calibrate -> predict -> evaluate, benchmark
                        |-> soft labels ------------------|
student:                                                  |-> distill -> export -> quantize[p]
                                                                |-> qat -> export -> quantize[int8_qat]
          quantize[p] -> predict raw[p]@d -> calibrate[p] -> predict[p]@d -> evaluate[p]@d, benchmark[p]@d
          (a device that compiles: build@d before each predict; a runtime with its own format: convert;
          a precision that rounds to integers: simulate before evaluate; on request: parity after each export)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from calkd_edge.engine.stage import Stage
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.plan_measuring import MeasuringStages
from calkd_edge.pipeline.plan_training import StageMaker, TrainingStages, versions
from calkd_edge.pipeline.planned import MeasuredRow, Model, Plan, in_order
from calkd_edge.quantization.traits import traits_of
from calkd_edge.records import Component, DeviceFacts, Json
from calkd_edge.stages.params import ExportParams, ParityParams

FP32 = Component(name="fp32", settings={})


@dataclass(frozen=True)
class Planner:
    """What a plan depends on besides the recipe.

    Attributes:
        checked: the recipe with its components.
        devices: what the probe returned, by device name; a skipped device is not among them.
        locations: where the devices are, by name; never part of a fingerprint.
        accelerator: where to train; never part of a fingerprint.
        plugins: module -> SHA-256 of its file; part of every fingerprint that depends on plugin code.
        debug_parity: whether each exported file is compared with torch layer by layer.
    """

    checked: CheckedRecipe
    devices: Mapping[str, DeviceFacts]
    locations: Mapping[str, Mapping[str, Json]]
    accelerator: str
    plugins: Mapping[str, str]
    debug_parity: bool = False

    def plan(self) -> Plan:
        """The complete plan; nothing is run."""
        make = StageMaker(self.plugins)
        training = TrainingStages(self.checked, self.accelerator, make)
        measuring = MeasuringStages(self.checked, self.devices, self.locations, make)
        home = self.checked.recipe.calibration_device
        data = training.prepare()
        teacher = training.teacher(data)
        file = teacher if self.checked.teacher_is_file else training.export(teacher, data, "teacher")
        teacher_fp32 = measuring.quantize(file, data, "teacher", FP32)
        teacher_row = measuring.measure(teacher_fp32, home)
        soft_labels = training.soft_labels(teacher, data)
        student = training.distill(data, teacher, teacher_row.calibrate, soft_labels)
        exported = training.export(student, data, "student")
        rows = [teacher_row, *self._student_rows(training, measuring, student, exported, data)]
        compared: dict[Model, Stage] = {}
        if self.checked.recipe.distill.control:
            compared["control"] = training.distill(data, teacher, None, soft_labels)
        if self.checked.recipe.distill.baseline:
            compared["baseline"] = training.baseline(data)
        for name, stage in compared.items():
            fp32 = measuring.quantize(training.export(stage, data, name), data, name, FP32)
            rows.append(measuring.measure(fp32, home))
        # Stages that train come first, stages that only measure last: a wrong recipe shows early.
        stored = [] if soft_labels is None else [soft_labels]
        order = [data, teacher, *teacher_row.stages[:2], *stored, student, exported]
        order += [stage for row in rows for stage in (*row.calibrate.ancestors(), *row.stages)]
        stages = in_order(order)
        if self.debug_parity:
            stages = tuple(_with_parity(stages, make))
        trainings = tuple(training.trainings)
        return Plan(self.checked, stages, tuple(rows), trainings, data, teacher, student, compared)

    def _student_rows(
        self,
        training: TrainingStages,
        measuring: MeasuringStages,
        student: Stage,
        exported: Stage,
        data: Stage,
    ) -> Iterator[MeasuredRow]:
        """The student in every precision on every device that was probed."""
        for precision in self.checked.precisions:
            source = exported
            if traits_of(precision.name).trains:
                trained = training.qat(student, precision.settings)
                source = training.export(trained, data, f"student-{precision.name}")
            quantized = measuring.quantize(source, data, "student", precision)
            for device in self.checked.recipe.devices:
                if device.name in self.devices:
                    yield measuring.measure(quantized, device)


def _with_parity(stages: Sequence[Stage], make: StageMaker) -> Iterator[Stage]:
    """The stages, and after each export one that compares its file with torch; nothing depends on it."""
    for stage in stages:
        yield stage
        if stage.path == ExportParams.function:
            params = ParityParams(versions=versions("onnxruntime"))
            name = stage.name.replace("export-", "parity-")
            yield make(name, params, {**stage.inputs, "file": stage})

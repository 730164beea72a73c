"""What a reader should know before a run starts, in sentences."""

from __future__ import annotations

from pathlib import Path

from calkd_edge.calibration.tables import TABLES, WHY_NOT_FOLDED
from calkd_edge.pipeline.checks import CheckedRecipe
from calkd_edge.pipeline.data_checks import outline_of, remarks
from calkd_edge.pipeline.options import Options
from calkd_edge.quantization.traits import traits_of
from calkd_edge.recipe.schema import Recipe
from calkd_edge.release.gates.unjudged import ACCURACY_GATES, without_accuracy_gate
from calkd_edge.stages.top_logits import bytes_per_row

EVIDENCE = (
    "students of 2 calibrated teachers (T = 1.15 and 1.17) by kd are not shown to differ in accuracy from "
    "those of the same teachers raw"
)
"""What docs/evidence.md comes to, held to its results by a test."""


def notices(checked: CheckedRecipe, options: Options, rehearsed: Recipe | None = None) -> list[str]:
    """Sentences about the images, the teacher, the calibration, students for comparison and processes.

    Args:
        checked: the recipe that runs.
        options: of the run.
        rehearsed: the recipe that a smoke run stands for; None in other runs.
    """
    recipe = checked.recipe
    messages = [*remarks(checked, rehearsed), *checked.assumed, *_teacher_notice(checked)]
    effect = checked.effect()
    if effect.kind == "no_op":
        messages.append(
            f"WARNING: calibrating the teacher changes nothing for this student: {effect.sentence}. "
            "Add kd or dkd to distill.losses to let it act."
        )
    elif checked.calibrator.name == "temperature":
        hint = "" if recipe.distill.control else "; distill.control: true measures it for yours"
        messages.append(f"Calibrating the teacher: by docs/evidence.md {EVIDENCE}{hint}.")
    messages.append(_how_it_folds(checked))
    tables = [method.name for method in checked.compared if method.name in TABLES]
    if tables:
        messages.append(f"{', '.join(tables)}: measured for comparison, cannot ship: {WHY_NOT_FOLDED}.")
    if recipe.distill.control:
        messages.append(
            "distill.control: a second student learns from the uncalibrated teacher, which doubles the "
            "time of distillation."
        )
    if recipe.distill.baseline:
        messages.append("distill.baseline: a second student learns from labels alone, for as many epochs.")
    names = [precision.name for precision in recipe.precisions]
    unjudged = without_accuracy_gate(recipe.gates, names)
    if rehearsed is None and unjudged:
        what = "the student's accuracy" if unjudged == names else f"the accuracy of {', '.join(unjudged)}"
        messages.append(
            f"WARNING: no gate judges {what}, so the verdict can be undecided at best: add {ACCURACY_GATES}."
        )
    if options.processes * options.nodes > 1:
        kind = "synchronised" if recipe.distill.sync_batch_norm else "per process"
        where = f" on each of {options.nodes} machines" if options.nodes > 1 else ""
        processes = "1 process" if options.processes == 1 else f"{options.processes} processes"
        messages.append(f"Training runs in {processes}{where}; batch normalisation is {kind}.")
    messages += _cast_on_cpu(checked, options.accelerator)
    if checked.teacher_is_file and checked.teacher_mode != "none":
        messages += [*_file_on_gpu(options.accelerator), *_order_of_file(checked)]
    return messages


def _order_of_file(checked: CheckedRecipe) -> list[str]:
    """How the classes of a teacher that is a file were matched with the data's."""
    outline = outline_of(checked)
    if outline is None:
        return []
    # Imported here: only such a teacher needs it.
    from calkd_edge.stages.onnx_teacher import adopted_teacher

    path, (_, shape) = Path(str(checked.recipe.teacher.weights)), checked.dataset.size()
    _, order = adopted_teacher(checked.teacher, path, outline.classes, shape)
    if order.caution is None:
        return [f"The teacher's classes were matched {order.how}."]
    return [f"WARNING: the teacher's classes were matched {order.how}: {order.caution}."]


def _cast_on_cpu(checked: CheckedRecipe, accelerator: str) -> list[str]:
    """A warning where trainings autocast on a CPU, which slows them."""
    recipe = checked.recipe
    sections = {"teacher_training": recipe.teacher_training, "distill": recipe.distill}
    keys = [f"{key}.autocast" for key, section in sections.items() if section and section.autocast]
    if not keys:
        return []
    # Imported here: only such recipes need torch before they start.
    from calkd_edge.training.accelerator import chosen_accelerator

    if chosen_accelerator(accelerator) != "cpu":
        return []
    return [
        f"WARNING: {' and '.join(keys)}: on a CPU a step takes longer in bfloat16 than in float32; leave "
        "it out there."
    ]


def _teacher_notice(checked: CheckedRecipe) -> list[str]:
    """How the teacher's logits reach the student."""
    if checked.teacher_mode == "live":
        return [f"The teacher runs in every step, no soft labels are stored: {checked.reason}."]
    if checked.teacher_mode == "none":
        return []
    views, epochs = checked.recipe.distill.views, checked.recipe.distill.epochs
    runtime = "ONNX Runtime" if checked.teacher_is_file else "torch"
    count = f"{views} {'view' if views == 1 else 'views'}"
    return [
        f"Soft labels: {count} of each image, each used {epochs / views:.1f} times; "
        f"{runtime} runs the teacher{_truncation(checked)}."
    ]


def _truncation(checked: CheckedRecipe) -> str:
    """How much of each row is stored, where not all of it is."""
    top, outline = checked.recipe.distill.soft_labels.top, outline_of(checked)
    if top is None:
        return ""
    kept = f"; of each row its {top:,} largest logits are stored"
    if outline is None:
        return kept
    classes = len(outline.classes)
    return f"{kept}, {bytes_per_row(classes, top):,} bytes instead of {bytes_per_row(classes, None):,}"


def _file_on_gpu(accelerator: str) -> list[str]:
    """A warning where the student trains on a GPU that the teacher's file cannot use."""
    # Imported here: only a teacher that is a file needs them.
    from calkd_edge.models.onnx_net import WITHOUT_CUDA, has_cuda
    from calkd_edge.training.accelerator import chosen_accelerator

    is_left_out = chosen_accelerator(accelerator) == "cuda" and not has_cuda()
    return [f"WARNING: {WITHOUT_CUDA}"] if is_left_out else []


def _how_it_folds(checked: CheckedRecipe) -> str:
    """How the calibration enters the file of each precision, by the kind of map that its calibrator fits."""
    kind, names = checked.calibrator_kind, [precision.name for precision in checked.precisions]
    rounded = ", ".join(name for name in names if traits_of(name).rounds)
    floats = ", ".join(name for name in names if not traits_of(name).rounds)
    folded = f"folded into {floats}; " if floats else ""
    if kind is None:
        how = "folded if the fitted map allows it, else two nodes after the logits (see the report)"
    elif kind == "matrix" and rounded:
        how = f"{folded}two nodes after int8 weights, which hold no matrix ({rounded})"
    elif kind == "vector" and rounded:
        positive = "folded into int8 weights if all its scales are positive"
        how = f"{folded}{positive}, else two nodes after them ({rounded})"
    else:
        how = "folded into the last layer of every precision"
    teacher = "; into the teacher's file if its graph allows it" if checked.teacher_is_file else ""
    return f"Calibration ({checked.calibrator.name}): {how}{teacher}."

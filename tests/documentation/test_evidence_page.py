"""The page of evidence concludes what planted results hold, and nothing where runs are missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER / "distillation"))
    monkeypatch.syspath_prepend(str(FOLDER / "teacher_calibration"))
    import advice
    import hypotheses
    import page
    import results
    import sections

    return SimpleNamespace(
        advice=advice, hypotheses=hypotheses, page=page, results=results, sections=sections
    )


def planted(study, gain: float, slope: float):
    """Results of every run: calibrating gives `gain` of top-1, and top-1 falls by `slope` x teacher ACE."""
    scale = study.results.Scale.of("cpu", None)
    draw = np.random.default_rng(1)
    empty = study.results.Results({}, scale)
    teachers = {
        name: {
            "top1": 0.6 + 0.1 * draw.random(),
            **{figure: 0.004 * draw.random() for figure in ("ace_classwise", "ece", "ece_over", "nll")},
            "temperature": 1.2 + 0.4 * draw.random(),
        }
        for name in study.results.TEACHERS
    }
    for figures in teachers.values():
        figures["own_temperature"] = {
            key: 0.5 * figures[key] for key in ("ace_classwise", "ece", "ece_over", "nll")
        }
        figures["calibration_split"] = {"top1": figures["top1"], "ece": figures["ece"]}
    rows = {}
    for runs in empty.cells().values():
        for run in runs:
            teacher = teachers[run.facts["teacher"]]
            noise = 0.002 * np.random.default_rng(run.facts["seed"]).standard_normal()
            feels = run.facts["cell"] != study.results.STANDARDISED
            top = 0.5 + 0.3 * teacher["top1"] - slope * teacher["ace_classwise"] + noise
            top += gain * (run.facts["teacher_is"] == "calibrated") * feels
            top += 1e-5 * draw.standard_normal()
            figures = {
                "top1": top,
                "nll": 2.0 - top,
                "ece": 0.1,
                "ace_classwise": 0.01,
                "own_temperature": {"nll": 2.0, "ece": 0.01},
            }
            figures["own_temperature"]["nll"] += 0.01 * draw.standard_normal()
            rows[run.name] = run.facts | {
                "recipe_sha256": run.digest,
                "student_figures": figures,
                "teacher_figures": teacher,
                "corrupted": [{"top1": 0.2, "nll_own_temperature": 3.0}],
                "device": "a processor",
                "versions": {"torch": "2"},
                "commit": "0123456789ab",
            }
    for run in study.results.Results(rows, scale).cells()["Moved KD temperature (R1)"]:
        rows[run.name]["recipe_sha256"] = run.digest  # its recipe holds the teachers' temperatures
    return study.results.Results(rows, scale)


def page_of(study, results, tmp_path):
    """The page of some results, through the file."""
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps({"runs": results.rows}))
    return study.page.pages({path: study.results.Results.read(path)})


def test_planted_effects_are_concluded_and_their_absence_is_not(study):
    conclusions = {}
    for gain, slope in ((0.01, 20.0), (0.0, 0.0)):
        found = planted(study, gain, slope)
        for each, _, conclusion in study.hypotheses.conclusions(found):
            conclusions[each.name, gain] = conclusion.partition(":")[0]
    assert conclusions["N", 0.01] == conclusions["N", 0.0] == "holds"
    assert conclusions["H1", 0.01] == conclusions["H2", 0.01] == conclusions["H3", 0.01] == "stands"
    assert conclusions["H1", 0.0] == conclusions["H2", 0.0] == conclusions["H3", 0.0] == "not shown"
    assert conclusions["H4", 0.01] == "not shown"


def test_interval_of_paired_differences_takes_each_pair_of_teacher_and_student_as_a_block(study):
    found = planted(study, 0.01, 0.0)
    interval = study.hypotheses.HYPOTHESES["H2"].interval(found, 0.975)
    values = found.differences(("kd", "calibrated"), ("kd", "raw"), study.results.top1)
    spread = np.sqrt(values.var(axis=1, ddof=1).mean() / values.size)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(2.7515 * spread, rel=1e-3)  # t, 97.5 %, 8 degrees


def test_missing_run_leaves_its_conclusions_open_and_is_counted(study, tmp_path):
    whole = planted(study, 0.01, 20.0)
    missing = "resnet8x4, MobileNetV2 x0.5, 17, kd, calibrated"
    rows = {name: row for name, row in whole.rows.items() if name != missing}
    text, pictures = page_of(study, study.results.Results(rows, whole.scale), tmp_path)
    assert "| H2 | P2: top-1, calibrated less raw, loss `kd` | runs missing | not concluded" in text
    assert re.search(r"\| N \| top-1, calibrated less raw, loss `kd` on standardised logits \| .0\.00", text)
    assert "| Correlation | 84 | 83 |" in text
    assert "| calibrate the teacher | not concluded | runs missing |" in text
    assert study.advice.in_short(study.results.Results(rows, whole.scale)) is None
    assert set(pictures) == {"evidence-ace-cpu.svg", "evidence-losses-cpu.svg"}


def test_whole_page_has_no_hole(study, tmp_path):
    text, _ = page_of(study, planted(study, 0.01, 20.0), tmp_path)
    assert "| calibrate the teacher | yes" in text
    assert not {word for word in ("runs missing", "not concluded", "nan", "Left out") if word in text}


def test_repeated_pair_stands_beside_its_interval(study):
    found = planted(study, 0.01, 20.0)
    rows = {run.name: found.rows[run.name] for run in study.page.repeat.pair_runs(found.scale)}
    assert len(rows) == 2 * len(found.scale.seeds)
    same = study.page.repeat.repeated(found, study.results.Results(rows, found.scale))
    assert "6 of 6 students have the very figures" in same
    assert re.findall(r"\| (yes|no) \|", same) == ["yes"] * 3
    for row in rows.values():
        off = 0.02 * (row["teacher_is"] == "calibrated")
        row["student_figures"] = row["student_figures"] | {"top1": row["student_figures"]["top1"] + off}
    other = study.page.repeat.repeated(planted(study, 0.01, 20.0), study.results.Results(rows, found.scale))
    assert re.findall(r"\| (yes|no) \|", other) == ["no", "yes", "yes"]
    assert "3 of 6 students have the very figures" in other


def test_no_run_starts_only_to_wait_for_a_teacher_that_another_run_trains(study, tmp_path, monkeypatch):
    from study import Study, Wanted

    runs = [
        Wanted(f"{teacher}{number}", {}, {"teacher": {"name": teacher}, "distill": {"seed": number}})
        for teacher in "ab"
        for number in (1, 2)
    ]
    started, both = [], Barrier(2, timeout=30)

    def run(self, wanted):
        started.append(wanted.name)
        if len(started) <= 2:
            both.wait()  # the first two run at a time
        return {"name": wanted.name}

    monkeypatch.setattr(Study, "_run", run)
    rows = Study(tmp_path, tmp_path / "rows.json", jobs=2).bring(runs)
    assert set(started[:2]) == {"a1", "b1"}
    assert rows == {run.name: {"name": run.name} for run in runs}


def test_failed_control_leaves_nothing_concluded(study, tmp_path):
    found = planted(study, 0.01, 20.0)
    for row in found.rows.values():
        if row["cell"] == study.results.STANDARDISED and row["teacher_is"] == "calibrated":
            row["student_figures"]["top1"] += 0.02
    text, _ = page_of(study, found, tmp_path)
    assert text.count("not concluded: the control N failed") == 4
    assert "Nothing: the control N failed." in text


def test_row_of_another_recipe_is_left_out_and_named(study, tmp_path):
    found = planted(study, 0.01, 20.0)
    other = "resnet8x4, MobileNetV2 x0.5, 17, kd, calibrated"
    found.rows[other]["recipe_sha256"] = "0" * 64
    text, _ = page_of(study, found, tmp_path)
    assert f"Left out, as their recipe is not the study's: {other}." in text
    assert "| H2 | P2: top-1, calibrated less raw, loss `kd` | runs missing" in text


def test_students_of_two_trainings_of_a_teacher_are_not_compared(study):
    found = planted(study, 0.01, 20.0)
    row = found.rows["resnet8x4, MobileNetV2 x0.5, 18, kd, calibrated"]
    nll = row["teacher_figures"]["nll"]
    row["teacher_figures"] = row["teacher_figures"] | {"nll": nll * (1 + 1e-8)}
    assert study.hypotheses.HYPOTHESES["H2"].interval(found, 0.975) is not None
    row["teacher_figures"] = row["teacher_figures"] | {"nll": nll * (1 + 1e-4)}
    with pytest.raises(ValueError, match="two trainings of resnet8x4"):
        study.hypotheses.HYPOTHESES["H2"].interval(found, 0.975)


def test_figure_that_does_not_vary_concludes_nothing(study):
    found = planted(study, 0.0, 0.0)
    for row in found.rows.values():
        row["student_figures"]["top1"] = 0.5
    conclusion = {each.name: follows for each, _, follows in study.hypotheses.conclusions(found)}["H1"]
    assert conclusion == "not concluded: a figure does not vary"


def test_sentences_of_readme_and_compress_are_those_of_the_results(study):
    from calkd_edge.pipeline.notices import EVIDENCE

    results, _ = study.page.committed()
    readme, notice = study.advice.in_short(results[study.page.HERE / "cpu.json"])
    assert readme in " ".join((study.page.ROOT / "README.md").read_text(encoding="utf-8").split())
    assert notice == EVIDENCE


@pytest.mark.parametrize(("gain", "of_students"), [(0.01, "more"), (0.0, "not shown"), (-0.01, "less")])
def test_sentences_follow_the_interval(study, gain, of_students):
    readme, notice = study.advice.in_short(planted(study, gain, 20.0))
    assert f" by kd are {of_students} " in notice
    assert "is seen over 21 teachers" in readme


def test_page_is_that_of_the_results(study):
    results, again = study.page.committed()
    if not results:
        pytest.skip("no result is committed yet")
    text, pictures = study.page.pages(results, again)
    assert study.page.PAGE.read_text(encoding="utf-8") == text
    for name, svg in pictures.items():
        assert (study.page.PICTURES / name).read_text(encoding="utf-8") == svg

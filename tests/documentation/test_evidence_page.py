"""The page of evidence concludes what planted results hold, and nothing where runs are missing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER / "distillation"))
    monkeypatch.syspath_prepend(str(FOLDER / "teacher_calibration"))
    import hypotheses
    import page
    import results
    import sections

    return SimpleNamespace(hypotheses=hypotheses, page=page, results=results, sections=sections)


def planted(study, gain: float, slope: float):
    """Results of every run: calibrating gives `gain` of top-1, and top-1 falls by `slope` x teacher ACE."""
    scale = study.results.Scale.of("cpu", None)
    draw = np.random.default_rng(0)
    empty = study.results.Results({}, scale)
    teachers = {
        name: {
            "top1": 0.6 + 0.1 * draw.random(),
            "ace_classwise": 0.004 * draw.random(),
            **dict.fromkeys(("ece", "ece_over", "nll"), draw.random()),
            "temperature": 1.4,
        }
        for name in study.results.TEACHERS
    }
    for figures in teachers.values():
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
                "own_temperature": {"nll": 2.0, "ece": 0.01},
            }
            figures["own_temperature"]["nll"] += 0.01 * draw.standard_normal()
            rows[run.name] = run.facts | {
                "student_figures": figures,
                "teacher_figures": teacher,
                "corrupted": [{"nll": 3.0}],
                "device": "a processor",
                "versions": {"torch": "2"},
            }
    return study.results.Results(rows, scale)


def test_planted_effects_are_concluded_and_their_absence_is_not(study):
    conclusions = {}
    for gain, slope in ((0.01, 20.0), (0.0, 0.0)):
        found = planted(study, gain, slope)
        for name, each in study.hypotheses.HYPOTHESES.items():
            conclusions[name, gain] = each.conclusion(each.interval(found)).partition(":")[0]
    assert conclusions["N", 0.01] == conclusions["N", 0.0] == "holds"
    assert conclusions["H1", 0.01] == conclusions["H2", 0.01] == conclusions["H3", 0.01] == "stands"
    assert conclusions["H1", 0.0] == conclusions["H2", 0.0] == conclusions["H3", 0.0] == "not shown"
    assert conclusions["H4", 0.01] == "not shown"


def test_interval_of_paired_differences_takes_each_pair_of_teacher_and_student_as_a_block(study):
    found = planted(study, 0.01, 0.0)
    interval = study.hypotheses.HYPOTHESES["H2"].interval(found)
    values = found.differences(("kd", "calibrated"), ("kd", "raw"), study.results.top1)
    spread = np.sqrt(values.var(axis=1, ddof=1).mean() / values.size)
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(2.7515 * spread, rel=1e-3)  # t, 97.5 %, 8 degrees


def test_missing_run_leaves_its_conclusions_open_and_is_counted(study, tmp_path):
    whole = planted(study, 0.01, 20.0)
    missing = "resnet8x4, MobileNetV2 x0.5, 17, kd, calibrated"
    rows = {name: row for name, row in whole.rows.items() if name != missing}
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps({"runs": rows}))
    part = study.results.Results.read(path)
    text, pictures = study.page.pages({path: part})
    assert "| H2 | P2: top-1, calibrated less raw, loss `kd` | runs missing | not concluded" in text
    assert "| N | top-1, calibrated less raw, loss `kd` on standardised logits | +0.00" in text
    assert "| Correlation | 84 | 83 |" in text
    assert set(pictures) == {"evidence-ace-cpu.svg", "evidence-losses-cpu.svg"}
    assert "### Teachers" in study.page.pages({path: whole})[0]


def test_page_is_that_of_the_results(study):
    committed = {
        study.page.HERE / name: study.results.Results.read(study.page.HERE / name)
        for name in study.page.RESULTS
        if (study.page.HERE / name).is_file()
    }
    if not committed:
        pytest.skip("no result is committed yet")
    text, pictures = study.page.pages(committed)
    assert study.page.PAGE.read_text(encoding="utf-8") == text
    for name, svg in pictures.items():
        assert (study.page.PICTURES / name).read_text(encoding="utf-8") == svg

"""The floor plan, counted from the imports: rooms, floors, arrows between rooms, circles."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "calkd_edge"
ENTRANCE = f"{PACKAGE}.__main__"
MOST_ROOMS, FLOORS, MOST_ARROWS, MOST_LOOSE_MODULES = 26, 9, 150, 3


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(PACKAGE)


@pytest.fixture(scope="module")
def floors() -> dict[str, int]:
    """Room -> floor, 0 at the bottom, as the linter's contract in pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"layers = \[\n(.*?)\n\]", text, re.DOTALL)[1].splitlines()
    return {
        room: level
        for level, line in enumerate(reversed(layers))
        for room in re.findall(rf"{PACKAGE}\.\w+", line)
    }


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def arrows(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """(importing room, imported room) for every pair of different rooms."""
    pairs = set()
    for module in graph.modules - {PACKAGE}:
        for imported in graph.find_modules_directly_imported_by(module) - {PACKAGE}:
            pairs.add((room_of(module), room_of(imported)))
    return {(room, other) for room, other in pairs if room != other}


def test_house_has_few_rooms_and_every_room_has_a_floor(graph, floors):
    rooms = graph.find_children(PACKAGE)
    assert rooms - {ENTRANCE} == floors.keys() - {ENTRANCE}
    assert len(rooms) <= MOST_ROOMS
    assert len(set(floors.values())) == FLOORS
    loose = [room for room in rooms - {ENTRANCE} if not graph.find_children(room)]
    assert len(loose) <= MOST_LOOSE_MODULES, loose


def test_no_stage_imports_another_stage(graph):
    def is_stage(module: str) -> bool:
        text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        return re.search(r"^def run\(job: Job\)", text, re.MULTILINE) is not None

    stages = set(filter(is_stage, graph.find_children(f"{PACKAGE}.stages")))
    assert len(stages) > 15
    assert {
        stage: graph.find_modules_directly_imported_by(stage) & stages for stage in stages
    } == dict.fromkeys(stages, set())


def test_arrows_between_rooms_are_few_and_point_down(graph, floors):
    pairs = arrows(graph)
    assert len(pairs) <= MOST_ARROWS
    # On the ground floor, names and files may raise errors; nothing else is imported from its own floor.
    ground = {(room, f"{PACKAGE}.errors") for room in (f"{PACKAGE}.registry", f"{PACKAGE}.files")}
    level = [(a, b) for a, b in pairs if floors[a] <= floors[b]]
    assert set(level) <= ground | {(ENTRANCE, f"{PACKAGE}.cli")}


def test_modules_import_each_other_in_no_circle(graph):
    remaining = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := {module for module, imported in remaining.items() if not imported & remaining.keys()}:
        remaining = {module: imported for module, imported in remaining.items() if module not in leaves}
    # A package and the modules that its __init__ re-exports are a circle only if one imports its package.
    assert not remaining

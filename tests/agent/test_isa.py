"""Names of instruction sets are in one table, so that no room tests for a name that no machine reports."""

from __future__ import annotations

import ast
from pathlib import Path

from calkd_edge import agent
from calkd_edge.agent import isa

PACKAGE = Path(agent.__file__).parents[1]
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "isa.py")
ALIASES = {"avx512vnni", "avxvnni", "dotprod", "amx_fp16", "fphp", "neon"}
"""Names that other systems use, which /proc/cpuinfo or the agent's list does not have."""


def test_every_group_has_only_names_that_the_agent_reports():
    groups = {name: group for name, group in vars(isa).items() if isinstance(group, frozenset)}
    assert {"VNNI", "INT8", "FP16", "BF16"} <= set(groups)
    for name, group in groups.items():
        assert group <= set(isa.ISA_FLAGS), name


def test_no_other_file_names_an_instruction_set():
    names = set(isa.ISA_FLAGS) | ALIASES
    for path in SOURCES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        texts = {
            node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not texts & names, path

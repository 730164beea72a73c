"""ONNX Runtime's providers: what one does not take never runs on the CPU in silence."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import open_runtime

AZURE = "AzureExecutionProvider"
"""Comes with ONNX Runtime's CPU package, and takes none of these nodes."""


@pytest.fixture(autouse=True)
def azure():
    if AZURE not in onnxruntime.get_available_providers():
        pytest.skip(f"this ONNX Runtime has no {AZURE}")


def test_nodes_that_a_provider_does_not_take_are_an_error(exported):
    with (
        pytest.raises(AgentProblem, match="fallback") as problem,
        open_runtime("onnxruntime", str(exported("resnet20").path), {"providers": [AZURE]}),
    ):
        pass
    assert "add CPUExecutionProvider to options.providers" in problem.value.remedy
    assert f"{AZURE} does not load here" in problem.value.remedy


def test_the_cpu_is_taken_where_it_is_named(exported):
    options = {"providers": [AZURE, "CPUExecutionProvider"]}
    with open_runtime("onnxruntime", str(exported("resnet20").path), options) as opened:
        assert opened.infer(np.zeros((1, 3, 32, 32), np.uint8))["logits"].shape[0] == 1
        assert "session.disable_cpu_ep_fallback" not in opened.session_options()

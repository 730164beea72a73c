"""calkd-edge: distil, quantize and ship image classifiers whose confidences stay true on the device.

One function for each command, and the records they return. A name is imported when it is first used, so that
importing the package costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calkd_edge.benchmarking.benchmark import benchmark as benchmark
    from calkd_edge.devices.doctor import doctor as doctor
    from calkd_edge.engine.check import check_store as check_store
    from calkd_edge.errors import CalkdError as CalkdError
    from calkd_edge.errors import DeviceError as DeviceError
    from calkd_edge.errors import EnvironmentProblem as EnvironmentProblem
    from calkd_edge.errors import GateFailed as GateFailed
    from calkd_edge.errors import GateUndecided as GateUndecided
    from calkd_edge.errors import RecipeError as RecipeError
    from calkd_edge.errors import StageFailed as StageFailed
    from calkd_edge.errors import StoreError as StoreError
    from calkd_edge.external_models.calibrate import calibrate as calibrate
    from calkd_edge.external_models.evaluate import evaluate as evaluate
    from calkd_edge.metrics.quality import quality as quality
    from calkd_edge.onnx_model.lint import lint as lint
    from calkd_edge.pipeline.collection import collect_store as collect_store
    from calkd_edge.pipeline.compress import compress as compress
    from calkd_edge.pipeline.compress import plan as plan
    from calkd_edge.pipeline.gate import gate as gate
    from calkd_edge.pipeline.listing import list_names as list_names
    from calkd_edge.pipeline.listing import schema as schema
    from calkd_edge.pipeline.planned import Plan as Plan
    from calkd_edge.pipeline.report import report as report
    from calkd_edge.pipeline.run import Release as Release
    from calkd_edge.pipeline.verify import verify as verify
    from calkd_edge.recipe.schema import Recipe as Recipe
    from calkd_edge.recipe.schema import load_recipe as load_recipe
    from calkd_edge.recipe.smoke import smoke_recipe as smoke_recipe
    from calkd_edge.records import Affine as Affine
    from calkd_edge.records import Benchmark as Benchmark
    from calkd_edge.records import DoctorReport as DoctorReport
    from calkd_edge.records import Evaluation as Evaluation
    from calkd_edge.records import Lint as Lint
    from calkd_edge.records import Quality as Quality
    from calkd_edge.records import Repair as Repair
    from calkd_edge.records import Report as Report

_MODULES = {
    "Affine": "calkd_edge.records",
    "Benchmark": "calkd_edge.records",
    "CalkdError": "calkd_edge.errors",
    "DeviceError": "calkd_edge.errors",
    "DoctorReport": "calkd_edge.records",
    "EnvironmentProblem": "calkd_edge.errors",
    "Evaluation": "calkd_edge.records",
    "GateFailed": "calkd_edge.errors",
    "GateUndecided": "calkd_edge.errors",
    "Lint": "calkd_edge.records",
    "Plan": "calkd_edge.pipeline.planned",
    "Quality": "calkd_edge.records",
    "Recipe": "calkd_edge.recipe.schema",
    "RecipeError": "calkd_edge.errors",
    "Release": "calkd_edge.pipeline.run",
    "Repair": "calkd_edge.records",
    "Report": "calkd_edge.records",
    "StageFailed": "calkd_edge.errors",
    "StoreError": "calkd_edge.errors",
    "benchmark": "calkd_edge.benchmarking.benchmark",
    "calibrate": "calkd_edge.external_models.calibrate",
    "check_store": "calkd_edge.engine.check",
    "collect_store": "calkd_edge.pipeline.collection",
    "compress": "calkd_edge.pipeline.compress",
    "doctor": "calkd_edge.devices.doctor",
    "evaluate": "calkd_edge.external_models.evaluate",
    "gate": "calkd_edge.pipeline.gate",
    "lint": "calkd_edge.onnx_model.lint",
    "list_names": "calkd_edge.pipeline.listing",
    "load_recipe": "calkd_edge.recipe.schema",
    "plan": "calkd_edge.pipeline.compress",
    "quality": "calkd_edge.metrics.quality",
    "report": "calkd_edge.pipeline.report",
    "schema": "calkd_edge.pipeline.listing",
    "smoke_recipe": "calkd_edge.recipe.smoke",
    "verify": "calkd_edge.pipeline.verify",
}
"""Where each public name is defined."""

__all__ = sorted(_MODULES)  # noqa: PLE0605  # names are looked up in __getattr__
__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""From 1.32 on, ONNX Runtime sends usage counts unless this is set before it is loaded."""

if not TYPE_CHECKING:  # type checkers see the imports above, and report names that are not there

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'calkd_edge' has no attribute '{name}'")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

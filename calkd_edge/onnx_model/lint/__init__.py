"""An ONNX file against the rules of its target: TensorRT's builder, or ONNX Runtime's CPU kernels.

In scope: rules, each a function over one file that yields node, reason and remedy. Out of scope: changing
files, running them.
"""

from calkd_edge.onnx_model.lint.linter import RULES, lint, lint_model, refuse_errors

__all__ = ["RULES", "lint", "lint_model", "refuse_errors"]

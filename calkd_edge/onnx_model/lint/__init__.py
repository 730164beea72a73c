"""An ONNX file against the rules of what is to run it: TensorRT's builder, or ONNX Runtime's CPU kernels.

In scope: rules, each a function over one file that says node, reason and mend. Out of scope: changing files,
running them. A rule stands beside what it speaks of, and in one list.
"""

from calkd_edge.onnx_model.lint.check import RULES, lint, refuse_errors

__all__ = ["RULES", "lint", "refuse_errors"]

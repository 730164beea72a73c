"""Sizes of the values of an ONNX graph, computed from the graph alone.

In scope: a walk along the nodes, through branches, bodies and functions, by ONNX's shape inference; numbers
that follow from shapes are computed on the way. Out of scope: running a graph, operators of other domains.
"""

from calkd_edge.onnx_model.sizes.scope import LARGEST_AT_ONCE, LARGEST_VALUE, SizeProblem
from calkd_edge.onnx_model.sizes.walk import check_sizes, images_at_once

__all__ = ["LARGEST_AT_ONCE", "LARGEST_VALUE", "SizeProblem", "check_sizes", "images_at_once"]

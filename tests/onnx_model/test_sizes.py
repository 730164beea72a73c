"""Sizes of values, through branches, functions and computed shapes; unknown sizes are refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calkd_edge.onnx_model.sizes import (
    LARGEST_AT_ONCE,
    LARGEST_VALUE,
    SizeProblem,
    check_sizes,
    images_at_once,
)

NODE = helper.make_node
HUGE = np.array([2**17, 2**17])


def value(name: str, kind: int = TensorProto.FLOAT, sizes=None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, sizes)


def model(*nodes, sizes=("n", 3, 8, 8), functions=(), kind=TensorProto.FLOAT, **stored) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(list(nodes), "by_hand", [value("x", sizes=sizes)], [value("y", kind)], tensors)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def body(*nodes, inputs=(), outputs=("inner",), name="body") -> onnx.GraphProto:
    kinds = {"turn": (TensorProto.INT64, []), "go": (TensorProto.BOOL, []), "on": (TensorProto.BOOL, [])}
    ends = [
        [value(node, *kinds.get(node, (TensorProto.FLOAT, None))) for node in end]
        for end in (inputs, outputs)
    ]
    return helper.make_graph(list(nodes), name, *ends)


def function(name: str, *nodes, inputs=("a",), outputs=("b",), attributes=()) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_function(
        "own", name, list(inputs), list(outputs), list(nodes), opsets, list(attributes)
    )


BRIGHT = (
    NODE("ReduceMax", ["x"], ["most"], keepdims=0),
    NODE("Cast", ["most"], ["bright"], to=TensorProto.BOOL),
)
"""What only the pixels tell."""
COUNT = (
    NODE("ReduceMax", ["x"], ["most"], keepdims=0),
    NODE("Cast", ["most"], ["count"], to=TensorProto.INT64),
)
COUNTS = (*COUNT, NODE("Reshape", ["count", "minus"], ["counts"]))
FILLED = NODE("ConstantOfShape", ["huge"], ["inner"])
SCALAR = NODE("Identity", ["x"], ["inner"])


def in_a_branch() -> onnx.ModelProto:
    chosen = NODE(
        "If", ["bright"], ["y"], then_branch=body(SCALAR, name="a"), else_branch=body(FILLED, name="b")
    )
    return model(*BRIGHT, chosen, huge=HUGE)


def in_a_branch_of_a_branch() -> onnx.ModelProto:
    inside = in_a_branch().graph.node[-1]
    inside.output[0] = "inner"
    deeper = NODE(
        "If", ["bright"], ["y"], then_branch=body(inside, name="c"), else_branch=body(SCALAR, name="d")
    )
    return model(*BRIGHT, deeper, huge=HUGE)


def in_a_loop() -> onnx.ModelProto:
    turn = body(
        NODE("Identity", ["go"], ["on"]),
        NODE("ConstantOfShape", ["huge"], ["filled"]),
        NODE("ReduceMax", ["filled"], ["top"], keepdims=0),
        NODE("Add", ["sum", "top"], ["inner"]),
        inputs=("turn", "go", "sum"),
        outputs=("on", "inner"),
    )
    return model(NODE("Loop", ["turns", "yes", "x"], ["y"], body=turn), huge=HUGE, turns=3, yes=True)


def growing_in_a_loop() -> onnx.ModelProto:
    turn = body(
        NODE("Identity", ["go"], ["on"]),
        NODE("Concat", ["grown", "grown"], ["inner"], axis=0),
        inputs=("turn", "go", "grown"),
        outputs=("on", "inner"),
    )
    return model(NODE("Loop", ["turns", "yes", "x"], ["y"], body=turn), turns=40, yes=True)


def collecting_in_a_loop(turns: int | None) -> onnx.ModelProto:
    turn = body(
        NODE("Identity", ["go"], ["on"]),
        NODE("Identity", ["x"], ["inner"]),
        inputs=("turn", "go"),
        outputs=("on", "inner"),
    )
    loop = NODE("Loop", ["count" if turns is None else "turns", "yes"], ["y"], body=turn)
    return model(*COUNT, loop, turns=turns or 0, yes=True)


def in_a_scan() -> onnx.ModelProto:
    turn = body(
        NODE("Reshape", ["row", "column"], ["tall"]),
        NODE("Reshape", ["row", "flat"], ["wide"]),
        NODE("MatMul", ["tall", "wide"], ["inner"]),
        inputs=("row",),
    )
    scan = NODE("Scan", ["x"], ["y"], body=turn, num_scan_inputs=1)
    return model(scan, sizes=("n", 2**15), column=[-1, 1], flat=[1, -1])


def in_a_function() -> onnx.ModelProto:
    fill = function("Fill", NODE("ConstantOfShape", ["a"], ["b"]))
    outer = function("Outer", NODE("Fill", ["a"], ["b"], domain="own"))
    return model(NODE("Outer", ["huge"], ["y"], domain="own"), functions=[fill, outer], huge=HUGE)


def by_an_attribute_of_a_function() -> onnx.ModelProto:
    sizes = NODE("Constant", [], ["sizes"])
    reference = sizes.attribute.add(name="value_ints", type=onnx.AttributeProto.INTS)
    reference.ref_attr_name = "sizes"
    fill = function("Fill", sizes, NODE("ConstantOfShape", ["sizes"], ["b"]), attributes=["sizes"])
    call = NODE("Fill", ["x"], ["y"], domain="own", sizes=[2**17, 2**17])
    return model(call, functions=[fill])


def functions_that_double(levels: int) -> onnx.ModelProto:
    first = function("F0", NODE("Add", ["a", "a"], ["b"]))
    more = [
        function(
            f"F{level}",
            *(NODE(f"F{level - 1}", [node], [two], domain="own") for node, two in (("a", "c"), ("c", "b"))),
        )
        for level in range(1, levels)
    ]
    return model(NODE(f"F{levels - 1}", ["x"], ["y"], domain="own"), functions=[first, *more])


def a_function_that_calls_itself() -> onnx.ModelProto:
    return model(
        NODE("F", ["x"], ["y"], domain="own"),
        functions=[function("F", NODE("F", ["a"], ["b"], domain="own"))],
    )


def by_the_number_of_images() -> onnx.ModelProto:
    nodes = (
        NODE("Shape", ["x"], ["shape"]),
        NODE("Gather", ["shape", "zero"], ["n"]),
        NODE("Mul", ["n", "n"], ["squared"]),
        NODE("Mul", ["squared", "many"], ["size"]),
        NODE("ConstantOfShape", ["size"], ["y"]),
    )
    return model(*nodes, zero=[0], many=[2**20])


def too_many_sums() -> onnx.ModelProto:
    """A product of two vectors: no operator that is there to make much of little."""
    nodes = (NODE("Reshape", ["x", "column"], ["tall"]), NODE("Reshape", ["x", "row"], ["wide"]))
    return model(
        *nodes, NODE("MatMul", ["tall", "wide"], ["y"]), sizes=(1, 2**15), column=[-1, 1], row=[1, -1]
    )


def hidden(node: onnx.NodeProto, **stored) -> onnx.ModelProto:
    """Behind an operator of which ONNX knows nothing."""
    return model(NODE("Gelu", ["x"], ["g"], domain="com.microsoft"), node, **stored)


def sparse() -> onnx.ModelProto:
    sized_model = model(NODE("Add", ["x", "s"], ["y"]))
    values, indices = (
        numpy_helper.from_array(np.ones(1, np.float32), "s"),
        numpy_helper.from_array(np.array([0])),
    )
    sized_model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**34]))
    return sized_model


LARGE = {
    "in a branch": in_a_branch,
    "in a branch of a branch": in_a_branch_of_a_branch,
    "in a loop": in_a_loop,
    "collected by a loop": lambda: collecting_in_a_loop(2**30),
    "in a scan": in_a_scan,
    "in a function that another calls": in_a_function,
    "by an attribute of a function": by_an_attribute_of_a_function,
    "a product of vectors": too_many_sums,
    "pads of a Conv": lambda: model(
        NODE("Conv", ["x", "w"], ["y"], pads=[2**17] * 4), w=np.ones((1, 3, 1, 1), np.float32)
    ),
    "repeats": lambda: model(NODE("Tile", ["x", "t"], ["y"]), t=[1, 2**12, 2**12, 2**12]),
    "repeats of what is not known": lambda: hidden(NODE("Tile", ["g", "t"], ["y"]), t=[1, 1, 2**17, 2**17]),
    "a sparse one that is stored": sparse,
    "random numbers": lambda: model(NODE("RandomNormal", [], ["y"], shape=[2**17, 2**17])),
}
GROWS = {
    "ConstantOfShape": (NODE("ConstantOfShape", ["counts"], ["y"]),),
    "Expand": (NODE("Expand", ["most", "counts"], ["y"]),),
    "Tile": (NODE("Concat", ["counts", "ones"], ["t"], axis=0), NODE("Tile", ["x", "t"], ["y"])),
    "Range": (NODE("Range", ["zero", "count", "one"], ["y"]),),
    "OneHot": (NODE("OneHot", ["ones", "count", "values"], ["y"]),),
    "Resize": (
        NODE("Concat", ["ones", "counts"], ["t"], axis=0),
        NODE("Resize", ["x", "", "", "t"], ["y"]),
    ),
    "Pad": (NODE("Concat", ["seven", "counts"], ["t"], axis=0), NODE("Pad", ["x", "t"], ["y"])),
}
"""Each by a number that only the pixels tell."""


@pytest.mark.parametrize("name", LARGE)
def test_large_values_are_refused_wherever_they_are(name):
    with pytest.raises(SizeProblem, match=r"would have [\d,]+ elements"):
        check_sizes(LARGE[name]())


def grown(name: str, sizes=("n", 3, 8, 8)) -> onnx.ModelProto:
    numbers = {"minus": [-1], "ones": [1, 1, 1], "seven": [0] * 7, "zero": 0, "one": 1}
    kind = TensorProto.INT64 if name == "Range" else TensorProto.FLOAT
    values = np.array([0, 1], np.float32)
    return model(*COUNTS, *GROWS[name], sizes=sizes, kind=kind, values=values, **numbers)


@pytest.mark.parametrize("name", GROWS)
def test_sizes_by_what_is_in_the_images_are_refused(name):
    onnxruntime.InferenceSession(grown(name).SerializeToString(), providers=["CPUExecutionProvider"])
    with pytest.raises(SizeProblem, match=f"the size of {name} 'y' is unknown"):
        check_sizes(grown(name))


def test_a_file_with_an_open_image_size_is_checked_as_far_as_known():
    check_sizes(grown("Resize", sizes=("n", 3, "h", "w")))
    opened = in_a_branch()
    opened.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "w"
    with pytest.raises(SizeProblem, match="would have"):
        check_sizes(opened)


@pytest.mark.parametrize("build", [growing_in_a_loop, lambda: collecting_in_a_loop(None)])
def test_loops_of_which_nothing_tells_what_they_come_to_are_refused(build):
    with pytest.raises(SizeProblem, match="the size of Loop 'y' is unknown"):
        check_sizes(build())


def test_functions_that_come_to_too_many_nodes_are_refused():
    check_sizes(functions_that_double(10))
    with pytest.raises(SizeProblem, match=r"more than 50,000 nodes"):
        check_sizes(functions_that_double(40))
    with pytest.raises(SizeProblem, match="nested more than 64 levels"):
        check_sizes(a_function_that_calls_itself())


def test_a_node_that_lacks_its_body_is_a_problem_of_the_file():
    with pytest.raises(SizeProblem, match="lack what their operators need"):
        check_sizes(model(NODE("Loop", ["", "", "x"], ["y"])))


@pytest.mark.parametrize(("factor", "fits"), [(1, True), (1.01, False)])
def test_the_limit_is_for_one_image(factor, fits):
    sized_model = model(NODE("ConstantOfShape", ["s"], ["y"]), s=[int(factor * LARGEST_VALUE)])
    if fits:
        check_sizes(sized_model)
    else:
        with pytest.raises(SizeProblem, match="would have"):
            check_sizes(sized_model)


@pytest.mark.parametrize(
    ("by_image", "at_once"),
    [
        (LARGEST_AT_ONCE // 100, 100),
        (LARGEST_AT_ONCE // 99, 10),
        (LARGEST_AT_ONCE // 10, 10),
        (LARGEST_VALUE, 1),
    ],
)
def test_a_large_model_gets_smaller_batches(by_image, at_once):
    sized_model = model(NODE("Expand", ["x", "s"], ["y"]), sizes=("n", 1), s=[1, by_image])
    check_sizes(sized_model)
    assert images_at_once(sized_model) == at_once


def test_a_model_that_grows_with_the_number_of_images_gets_few():
    assert images_at_once(by_the_number_of_images()) < 100


def test_what_comes_of_another_makers_operator_is_not_judged():
    nodes = (
        NODE("Gelu", ["x"], ["g"], domain="com.microsoft"),
        NODE("Shape", ["g"], ["shape"]),
        NODE("Expand", ["token", "shape"], ["y"]),
    )
    check_sizes(model(*nodes, token=np.ones((1, 3, 1, 1), np.float32)))


# --- what honest files hold -----------------------------------------------------------------------------


def token_for_each_image() -> onnx.ModelProto:
    """How torch's older exporter writes token.expand(batch, -1, -1)."""
    nodes = (
        NODE("Shape", ["x"], ["shape"]),
        NODE("Gather", ["shape", "zero"], ["n"], axis=0),
        NODE("Unsqueeze", ["n", "first"], ["n1"]),
        NODE("Concat", ["n1", "rest"], ["wanted"], axis=0),
        NODE("Reshape", ["wanted", "flat"], ["wanted_flat"]),
        NODE("Shape", ["wanted_flat"], ["rank"]),
        NODE("ConstantOfShape", ["rank"], ["ones"], value=numpy_helper.from_array(np.array([1]))),
        NODE("Mul", ["ones", "minus"], ["open"]),
        NODE("Equal", ["wanted_flat", "open"], ["is_open"]),
        NODE("Where", ["is_open", "ones", "wanted_flat"], ["sizes"]),
        NODE("Expand", ["token", "sizes"], ["y"]),
    )
    token = np.ones((1, 1, 16), np.float32)
    return model(*nodes, zero=0, first=[0], rest=[-1, -1], flat=[-1], minus=-1, token=token)


def upsampled_to_twice_its_size() -> onnx.ModelProto:
    nodes = (
        NODE("Shape", ["x"], ["shape"]),
        NODE("Slice", ["shape", "zero", "two"], ["outer"]),
        NODE("Slice", ["shape", "two", "four"], ["inner"]),
        NODE("Cast", ["inner"], ["floats"], to=TensorProto.FLOAT),
        NODE("Mul", ["floats", "factor"], ["larger"]),
        NODE("Floor", ["larger"], ["whole"]),
        NODE("Cast", ["whole"], ["integers"], to=TensorProto.INT64),
        NODE("Concat", ["outer", "integers"], ["sizes"], axis=0),
        NODE("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    )
    return model(*nodes, zero=[0], two=[2], four=[4], factor=np.float32(2))


def squeezed_by_a_branch() -> onnx.ModelProto:
    """How torch's older exporter writes a squeeze of an axis that may be of another length."""
    nodes = (
        NODE("GlobalAveragePool", ["x"], ["pooled"]),
        NODE("Shape", ["pooled"], ["shape"], start=2, end=3),
        NODE("Equal", ["shape", "one"], ["is_one"]),
        NODE("Squeeze", ["is_one"], ["chosen"]),
    )
    branches = {
        "then_branch": body(NODE("Squeeze", ["pooled", "two"], ["inner"]), name="a"),
        "else_branch": body(NODE("Identity", ["pooled"], ["inner"]), name="b"),
    }
    expand = (NODE("Shape", ["z"], ["own"]), NODE("Expand", ["one_float", "own"], ["y"]))
    return model(
        *nodes, NODE("If", ["chosen"], ["z"], **branches), *expand, one=[1], two=[2], one_float=np.float32(1)
    )


def a_loop_of_few_turns() -> onnx.ModelProto:
    sized_model = in_a_loop()
    sized_model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([4, 4]), "huge"))
    return sized_model


HONEST = {
    "a token for each image": token_for_each_image,
    "twice its own size": upsampled_to_twice_its_size,
    "a branch that squeezes": squeezed_by_a_branch,
    "a loop of few turns": a_loop_of_few_turns,
    "a loop that collects": lambda: collecting_in_a_loop(5),
    "padding behind what ONNX does not know": lambda: hidden(
        NODE("Pad", ["g", "p"], ["y"]), p=[0, 0, 0, 0, 0, 0, 1, 1]
    ),
    "an operator whose result has any length": lambda: model(
        NODE("NonZero", ["x"], ["y"]), kind=TensorProto.INT64
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_shape_arithmetic_of_classifiers_is_computed(name):
    sized_model = HONEST[name]()
    check_sizes(sized_model)
    session = onnxruntime.InferenceSession(
        sized_model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for images in (1, 3):
        session.run(None, {"x": np.ones((images, 3, 8, 8), np.float32)})


@pytest.mark.parametrize(
    "name",
    [
        "resnet8",
        "mobilenet_v2",
        "shufflenet_v2",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mobilenet_v3_small", "shufflenet_v1", "vgg8")
        ),
    ],
)
def test_exported_nets_have_known_sizes(name, exported):
    check_sizes(exported(name).proto)

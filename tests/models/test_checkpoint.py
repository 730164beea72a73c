"""Weights of other trainings: wrappers and prefixes, every difference named, no code run from a file."""

from __future__ import annotations

import argparse
import logging
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from calkd_edge.errors import RecipeError
from calkd_edge.models import MODELS
from calkd_edge.models.checkpoint import fill, read_state

SMALL = (3, 32, 32)


def net(name="resnet8", classes=10, seed=3, **settings):
    torch.manual_seed(seed)
    return MODELS.load(name)(classes, SMALL, **settings)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def loaded(path, backbone=None):
    backbone = backbone or net(seed=9)
    fill(backbone, read_state(path, "teacher.weights"), f"teacher.weights: {path}")
    return backbone.state_dict()


WRAPPED = {
    "alone": lambda state: state,
    "mdistiller": lambda state: {"epoch": 240, "model": state, "best_acc": 79.42},
    "RepDistiller": lambda state: {
        "opt": argparse.Namespace(model="resnet8", lr=0.05),
        "epoch": 240,
        "model": state,
        "best_acc": torch.tensor(79.4),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.05}]},
    },
    "state_dict": lambda state: {"state_dict": state, "accuracy": np.float64(0.794)},
    "DataParallel": lambda state: {"module." + name: tensor for name, tensor in state.items()},
    "compiled and parallel": lambda state: {
        "net": {"module._orig_mod." + name: tensor for name, tensor in state.items()}
    },
    "twice wrapped": lambda state: {"model": {"state_dict": state, "version": 2}},
    "parallel and compiled": lambda state: {
        "_orig_mod.module." + name: tensor for name, tensor in state.items()
    },
    "ImageModel, parallel": lambda state: {
        "backbone.module." + name: tensor for name, tensor in state.items()
    },
    "ImageModel": lambda state: {"backbone." + name: tensor for name, tensor in state.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPED)
def test_wrapped_checkpoints_fill_the_network(tmp_path, wrapping):
    state = net().state_dict()
    torch.save(WRAPPED[wrapping](dict(state)), tmp_path / "teacher.pth")
    assert same(loaded(tmp_path / "teacher.pth"), state)


def test_safetensors_fill_the_network(tmp_path):
    state = net().state_dict()
    save_file(state, tmp_path / "teacher.safetensors")
    assert same(loaded(tmp_path / "teacher.safetensors"), state)


# Parameter names as the field's published CIFAR checkpoints have them, and what holds them.
PUBLISHED = {
    "resnet8x4": [
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer1.0.downsample.0.weight",
    ],
    "resnet56": ["layer1.8.bn2.weight", "layer2.0.downsample.1.bias", "layer3.8.conv2.weight", "fc.weight"],
    "wrn_40_2": [
        "conv1.weight",
        "block1.layer.0.convShortcut.weight",
        "block3.layer.5.bn2.running_var",
        "bn1.weight",
        "fc.bias",
    ],
    "vgg13": ["block0.0.bias", "block0.4.running_var", "block4.3.weight", "classifier.weight"],
    "vgg8": ["block0.0.weight", "block0.1.weight", "block4.1.running_mean", "classifier.bias"],
    "resnet50": ["layer1.0.shortcut.1.weight", "layer4.2.conv3.weight", "layer4.2.bn3.bias", "linear.weight"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_nets_have_the_names_of_published_checkpoints(name):
    state = net(name, 100).state_dict()
    assert set(PUBLISHED[name]) <= state.keys()
    if name == "wrn_40_2":  # only a block that widens has a shortcut convolution
        assert sum("convShortcut" in key for key in state) == 3


def test_every_difference_is_named_and_nothing_is_changed(tmp_path):
    model = net()
    state = dict(model.state_dict())
    del state["bn1.bias"], state["layer1.0.conv1.weight"]
    state["head.weight"] = torch.zeros(2)
    state["fc.weight"] = torch.zeros(100, 64)
    torch.save(state, tmp_path / "teacher.pth")
    other = net(seed=9)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(RecipeError) as refused:
        loaded(tmp_path / "teacher.pth", other)
    for part in (
        "teacher.pth does not fit",
        "2 missing: bn1.bias, layer1.0.conv1.weight",
        "1 surplus: head.weight",
        "1 of another shape: fc.weight is [100, 64] instead of [10, 64]",
    ):
        assert part in refused.value.message
    assert same(before, other.state_dict())


def test_absent_counts_of_batches_are_said_and_left_at_zero(tmp_path, caplog):
    state = {name: x for name, x in net().state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    with caplog.at_level(logging.INFO):
        result = loaded(tmp_path / "old.pth")
    assert "9 counts of batches are absent" in caplog.text
    assert all(torch.equal(result[name], state[name]) for name in state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path, dtype):
    state = net().half().state_dict() if dtype == torch.float16 else net().bfloat16().state_dict()
    torch.save(state, tmp_path / "half.pth")
    result = loaded(tmp_path / "half.pth")
    assert result["conv1.weight"].dtype == torch.float32
    assert torch.equal(result["conv1.weight"], state["conv1.weight"].float())


class Runs:
    def __reduce__(self):
        return (open, ("/tmp/never-written-by-a-checkpoint", "w"))


def test_no_code_of_a_file_is_run(tmp_path):
    from pathlib import Path

    torch.save({"model": net().state_dict(), "extra": Runs()}, tmp_path / "evil.pth")
    with pytest.raises(RecipeError, match="without running code"):
        read_state(tmp_path / "evil.pth", "teacher.weights")
    assert not Path("/tmp/never-written-by-a-checkpoint").exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.safetensors", b"not at all", "is not a whole safetensors file"),
        ("a.pth", b"not at all", "contains no state dict that can be read"),
        ("a.pth", pickle.dumps([1, 2]), "contains no state dict"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=sentence) as refused:
        read_state(tmp_path / name, "teacher.weights")
    assert "save" in refused.value.remedy


@pytest.mark.parametrize(
    ("state", "sentence", "fix"),
    [
        ({1: torch.ones(2)}, r"names a weight by 1 \(int\)", "state dict"),
        ({"w": torch.ones(2).to_sparse()}, "sparse", "to_dense"),
        ({"w": torch.empty(2, device="meta")}, "on meta", "values"),
        ({"w": torch.ones(2, dtype=torch.complex64)}, "complex64", "float32"),
    ],
)
def test_a_weight_that_is_no_plain_array_is_refused_with_what_helps(tmp_path, state, sentence, fix):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(RecipeError, match=sentence) as refused:
        read_state(tmp_path / "a.pth", "teacher.weights")
    assert fix in refused.value.remedy


def test_a_file_that_was_cut_off_says_so(tmp_path):
    torch.save(net().state_dict(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(RecipeError, match="its end is missing") as refused:
        read_state(tmp_path / "cut.pth", "teacher.weights")
    assert "Download or copy it again" in refused.value.remedy


def test_a_file_that_holds_the_network_twice_is_refused_and_one_with_averages_is_not(tmp_path):
    state = net().state_dict()

    def saved(*prefixes):
        torch.save({f"{p}{n}": w for p in prefixes for n, w in state.items()}, tmp_path / "a.pth")
        return tmp_path / "a.pth"

    with pytest.raises(RecipeError, match="several times, behind 'student.' and 'teacher.'") as refused:
        loaded(saved("student.", "teacher."))
    assert "removeprefix('student.')" in refused.value.remedy
    assert torch.equal(loaded(saved("net.", "net_ema."))["conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize(
    ("content", "sentence", "fix"),
    [
        (b"", "is empty, not a checkpoint", "copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4683\n", "4,683 bytes", "lfs pull"),
        (b"\n<!DOCTYPE html><html>quota exceeded</html>", "is a web page", "Download the file itself"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "answer of a server", "again"),
    ],
)
def test_what_a_failed_download_left_is_recognised(tmp_path, name, content, sentence, fix):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=sentence) as refused:
        read_state(tmp_path / name, "teacher.weights")
    assert fix in refused.value.remedy


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda s: {"state_dict": {f"model.{n}": x for n, x in s.items()}, "epoch": 3}, "behind 'model.'"),
        (
            lambda s: {"state_dict": {**{f"net.{n}": x for n, x in s.items()}, "loss.weight": torch.ones(3)}},
            "1 other tensors",
        ),
        (lambda s: {"model": {f"module.student.{n}": x for n, x in s.items()}}, "behind 'student.'"),
        (lambda s: {"n_averaged": torch.tensor(5), **{f"module.{n}": x for n, x in s.items()}}, "averaged"),
        (lambda s: {"state_dict": s, "state_dict_ema": s}, "averaged weights too (state_dict_ema)"),
        (lambda s: {n: x.half() for n, x in s.items()}, ""),
    ],
    ids=["lightning", "lightning with a loss", "student of a distillation", "AveragedModel", "ema", "half"],
)
def test_checkpoints_of_other_trainings_are_read_and_it_is_told_how(tmp_path, caplog, content, told):
    state = net().state_dict()
    torch.save(content(state), tmp_path / "a.pth")
    read = loaded(tmp_path / "a.pth")
    assert read.keys() == state.keys()
    assert all(torch.allclose(read[name].float(), state[name].float(), atol=1e-3) for name in state)
    assert told in caplog.text


def test_the_contents_of_a_file_without_state_dict_are_listed(tmp_path):
    torch.save({"epoch": 3, "optimizer": {"state": {}}}, tmp_path / "a.pth")
    with pytest.raises(RecipeError, match="contains no state dict, only epoch, optimizer"):
        read_state(tmp_path / "a.pth", "teacher.weights")
    with pytest.raises(RecipeError, match="b.pth does not exist"):
        read_state(tmp_path / "b.pth", "teacher.weights")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tensor: tensor.to(torch.int8), "conv1.weight contains torch.int8"),
        (lambda tensor: tensor * torch.nan, "conv1.weight contains numbers that are not finite"),
    ],
)
def test_integers_and_numbers_that_are_not_finite_are_refused(tmp_path, change, sentence):
    state = net().state_dict()
    state["conv1.weight"] = change(state["conv1.weight"])
    save_file(state, tmp_path / "teacher.safetensors")
    backbone = net(seed=9)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(RecipeError, match=sentence):
        loaded(tmp_path / "teacher.safetensors", backbone)
    assert same(backbone.state_dict(), before)


def test_weights_under_the_names_of_another_library_start_a_training_by_their_order(tmp_path, caplog):
    """As those of EfficientNet-Lite0: `_conv_stem.weight` where timm says `conv_stem.weight`."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 5))
    names = {"0": "_stem", "1": "_norm", "3": "_fc"}
    theirs = {names[name[0]] + name[1:]: tensor + 1 for name, tensor in net.state_dict().items()}
    theirs["_fc.weight"], theirs["_fc.bias"] = torch.zeros(9, 4), torch.zeros(9)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fill(net, theirs, "student.pretrained: a file", excluded=("3.weight", "3.bias"))
    after = net.state_dict()
    assert all(torch.equal(after[name], before[name] + 1) for name in before if not name.startswith("3."))
    assert torch.equal(after["3.weight"], before["3.weight"])
    assert "names are those of another library" in caplog.text
    swapped = {name: theirs[name] for name in sorted(theirs, key=lambda name: not name.endswith("weight"))}
    for other in (swapped, {**theirs, "_extra": torch.zeros(1)}):
        with pytest.raises(RecipeError, match="does not fit the model"):
            fill(net, other, "student.pretrained: a file", excluded=("3.weight", "3.bias"))
    with pytest.raises(RecipeError, match="does not fit the model"):  # it would be used unchanged
        fill(net, theirs, "teacher.weights: a file")

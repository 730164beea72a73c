"""ImageModel: normalisation inside, the folder on disk, foreign weights, features by path."""

from __future__ import annotations

import json

import pytest
import torch
from exported_nets import blobs, settled

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.models.image_model import ModelDescription, build, describe, load, save
from calkd_edge.models.taps import feature_shape, tapped

DESCRIPTION = ModelDescription(
    name="resnet8",
    settings={},
    classes=tuple(f"class {number}" for number in range(10)),
    image_shape=(3, 32, 32),
    mean=(0.50, 0.48, 0.45),
    std=(0.25, 0.24, 0.26),
    trained_on="train",
)
IMAGES = torch.from_numpy(blobs(4, seed=3))


@pytest.fixture
def model():
    return settled("resnet8")


def test_normalisation_is_inside(model):
    by_hand = IMAGES.double() / 255
    by_hand = (by_hand - torch.tensor(DESCRIPTION.mean).double().view(1, 3, 1, 1)) / torch.tensor(
        DESCRIPTION.std
    ).double().view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(IMAGES), model.backbone(by_hand.float()), atol=1e-4, rtol=1e-4)
    assert IMAGES.dtype == torch.uint8


def test_normalisation_is_not_a_weight(model):
    assert all(name.startswith("backbone.") for name in model.state_dict())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_saved_model_is_loaded_bit_for_bit(model, tmp_path, layout):
    save(model.to(memory_format=layout), DESCRIPTION, tmp_path)
    again, description = load(tmp_path)
    assert description == DESCRIPTION
    assert not again.training
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with torch.no_grad():
        plain = model.to(memory_format=torch.contiguous_format)
        assert torch.equal(plain(IMAGES), again(IMAGES))


def test_saving_twice_gives_the_same_bytes(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(model, DESCRIPTION, tmp_path / name)
    for name in ("weights.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_same_seed_builds_the_same_weights():
    first, second = (build(DESCRIPTION) for _ in range(2) if torch.manual_seed(4))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"name": "resnet8"}',
        json.dumps(DESCRIPTION.model_dump(mode="json") | {"schema_version": 2}),
    ],
)
def test_description_that_is_damaged_or_newer_is_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(EnvironmentProblem, match=r"model\.json cannot be read"):
        describe(tmp_path)


def test_folder_without_a_description_is_refused(tmp_path):
    with pytest.raises(EnvironmentProblem, match=r"model\.json cannot be read"):
        describe(tmp_path)


def test_taps_give_the_features_of_each_pass(model):
    with torch.no_grad(), tapped(model, ["layer3", "fc"], where="student") as features:
        logits = model(IMAGES)
        assert set(features) == {"layer3", "fc"}
        assert torch.equal(features["fc"], logits)
        first = features["layer3"]
        model(IMAGES.flip(0))
        torch.testing.assert_close(features["layer3"].flip(0), first)
    with torch.no_grad():
        assert torch.equal(model.backbone.fc(first.mean((2, 3))), logits)


def test_tap_is_not_overwritten_by_a_later_inplace_activation(model):
    with torch.no_grad(), tapped(model, ["layer1.0.bn1"], where="student") as features:
        model(IMAGES)
    assert (features["layer1.0.bn1"] < 0).any()


def test_tap_of_an_input_is_the_input_of_the_modules_last_run(model):
    # The block's one ReLU runs twice, in place: before the second run stands the sum with the shortcut.
    taps = ["layer3.0.relu:input", "layer3", "fc:input"]
    with torch.no_grad(), tapped(model, taps, where="student") as features:
        model(IMAGES)
    assert (features["layer3.0.relu:input"] < 0).any()
    assert torch.equal(features["layer3.0.relu:input"].clamp_min(0), features["layer3"])
    torch.testing.assert_close(features["fc:input"], features["layer3"].mean((2, 3)))
    assert feature_shape(model, "fc:input", (3, 32, 32), where="student") == (64,)


def test_tapped_features_carry_gradients(model):
    with tapped(model, ["layer2"], where="student") as features:
        model(IMAGES)
    features["layer2"].sum().backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_wrong_path_suggests_a_similar_one_and_leaves_no_hook(model):
    with (
        pytest.raises(RecipeError, match="the teacher has no module 'layer4'") as refused,
        tapped(model, ["layer1", "layer4"], where="teacher"),
    ):
        pass
    assert "Did you mean 'layer" in refused.value.remedy
    assert "layer3" in refused.value.remedy
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_gone_after_the_block_even_when_it_fails(model):
    with pytest.raises(ZeroDivisionError), tapped(model, ["layer1"], where="student"):
        1 / 0  # noqa: B018
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("path", "shape"), [("layer1", (16, 32, 32)), ("layer3", (64, 8, 8)), ("fc", (10,))])
def test_feature_shape_does_not_change_the_model(model, path, shape):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert feature_shape(model, path, (3, 32, 32), where="student") == shape
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())

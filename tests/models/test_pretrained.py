"""Published weights: named without a network, taken from the library's cache, downloaded once and checked."""

from __future__ import annotations

import hashlib
import http.server
import threading
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.models import MODELS, pretrained
from calkd_edge.models.checkpoint import fill
from calkd_edge.models.head import body, head_names, shrink
from calkd_edge.models.pretrained import Published, fetch, published
from calkd_edge.pipeline.plan_training import NEW_HEAD_SCALE

LARGE, SMALL = (3, 224, 224), (3, 32, 32)
WHERE = "r.yaml: student"


def quiet(done, total):
    pass


@contextmanager
def serving(folder):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("name", "settings", "part"),
    [
        ("torchvision", {"architecture": "resnet18"}, "resnet18-"),
        ("mobilenet_v2", {"width": 1.0, "divisor": 8}, "mobilenet_v2-"),
        ("mobilenet_v3_small", {"width": 1.0}, "mobilenet_v3_small-"),
        ("shufflenet_v2", {"width": 0.5}, "shufflenetv2_x0.5-"),
        ("timm", {"architecture": "resnet10t"}, "huggingface.co/timm/resnet10t"),
    ],
)
def test_published_weights_are_named_without_a_network(name, settings, part):
    result = published(name, settings, WHERE)
    assert part in result.url
    assert part in result.identity or name == "timm"
    assert all(0 < number < 1 for number in (*result.mean, *result.std))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet20", {"width": 1.0}),
        ("shufflenet_v1", {}),
        ("mobilenet_v2", {"width": 0.5, "divisor": 8}),
        ("mobilenet_v2", {"width": 1.0, "divisor": 1}),
    ],
)
def test_a_model_without_published_weights_is_refused_with_the_remedy(name, settings):
    with pytest.raises(RecipeError, match="student.pretrained: .*no.* weights") as refused:
        published(name, settings, WHERE)
    assert "pretrained=FILE" in refused.value.remedy


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


def a_file(folder, name="net", **settings):
    """Weights with the start of their SHA-256 in the file name, as torch.hub names them."""
    torch.manual_seed(3)
    state = MODELS.load("mobilenet_v3_small")(1000, LARGE, **settings).state_dict()
    torch.save(state, folder / "made.pth")
    digest = hashlib.sha256((folder / "made.pth").read_bytes()).hexdigest()
    return (folder / "made.pth").rename(folder / f"{name}-{digest[:8]}.pth"), state


def told(url):
    return lambda name, settings, where: Published(url, url, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_weights_are_downloaded_once_into_the_librarys_cache(tmp_path, home, monkeypatch):
    (tmp_path / "there").mkdir()
    file, state = a_file(tmp_path / "there")
    with serving(tmp_path / "there") as url:
        monkeypatch.setattr(pretrained, "published", told(f"{url}/{file.name}"))
        result = fetch("mobilenet_v3_small", {"width": 1.0}, quiet, WHERE)
    again = fetch("mobilenet_v3_small", {"width": 1.0}, quiet, WHERE)  # the server is gone
    assert (home / file.name).is_file()
    for item in (result, again):
        assert item.keys() == state.keys()
        assert all(torch.equal(item[name], state[name]) for name in state)


def test_a_file_with_another_checksum_is_refused(tmp_path, home, monkeypatch):
    (tmp_path / "there").mkdir()
    file, _ = a_file(tmp_path / "there")
    wrong = file.rename(file.with_name("net-00000000.pth"))
    with serving(tmp_path / "there") as url:
        monkeypatch.setattr(pretrained, "published", told(f"{url}/{wrong.name}"))
        with pytest.raises(EnvironmentProblem, match="did not give the right file"):
            fetch("mobilenet_v3_small", {"width": 1.0}, quiet, WHERE)
    assert not list(home.iterdir())


def test_offline_it_names_url_cache_and_file(home, monkeypatch):
    monkeypatch.setattr(pretrained, "published", told("http://127.0.0.1:9/net-01234567.pth"))
    with pytest.raises(EnvironmentProblem) as refused:
        fetch("mobilenet_v3_small", {"width": 1.0}, quiet, WHERE)
    assert refused.value.exit_code == 6
    assert "http://127.0.0.1:9/net-01234567.pth" in refused.value.message
    assert str(home / "net-01234567.pth") in refused.value.remedy
    assert "student.pretrained=FILE" in refused.value.remedy


def test_second_heads_of_inception_are_left_out(tmp_path, home, monkeypatch):
    torch.manual_seed(0)
    from torchvision import models

    state = models.googlenet(weights=None, aux_logits=True, init_weights=False).state_dict()
    home.mkdir(parents=True)
    torch.save(state, home / "saved")
    name = f"googlenet-{sha256_of(home / 'saved')[:8]}.pth"  # as torchvision names them
    (home / "saved").rename(home / name)
    monkeypatch.setattr(pretrained, "published", told(f"http://127.0.0.1:9/{name}"))
    result = fetch("torchvision", {"architecture": "googlenet"}, quiet, WHERE)
    net = MODELS.load("torchvision")(1000, LARGE, architecture="googlenet")
    assert net.state_dict().keys() < result.keys()
    fill(net, result, "here")
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())


def hub_cache(folder, repository):
    """The files of a download by huggingface_hub: a snapshot, and a reference to it."""
    torch.manual_seed(3)
    state = MODELS.load("timm")(1000, LARGE, architecture="resnet10t").state_dict()
    top, commit = folder / f"models--{repository.replace('/', '--')}", "0" * 40
    (top / "refs").mkdir(parents=True)
    (top / "refs" / "main").write_text(commit)
    (top / "snapshots" / commit).mkdir(parents=True)
    save_file(state, top / "snapshots" / commit / "model.safetensors")
    return state


def test_timms_weights_come_from_its_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    repository = published("timm", {"architecture": "resnet10t"}, WHERE).url.removeprefix(
        "https://huggingface.co/"
    )
    state = hub_cache(tmp_path, repository)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    result = fetch("timm", {"architecture": "resnet10t"}, quiet, WHERE)
    assert result.keys() == state.keys()
    assert all(torch.equal(result[name], state[name]) for name in state)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentProblem, match="cannot download https://huggingface.co/timm") as refused:
        fetch("timm", {"architecture": "resnet10t"}, quiet, WHERE)
    assert "student.pretrained=FILE" in refused.value.remedy


HEADS = {
    "resnet20": {"fc.weight", "fc.bias"},
    "mobilenet_v3_small": {"classifier.3.weight", "classifier.3.bias"},
    "vgg8": {"classifier.weight", "classifier.bias"},
    "torchvision squeezenet1_0": {"classifier.1.weight", "classifier.1.bias"},
    "torchvision vit_b_32": {"heads.head.weight", "heads.head.bias"},
    "torchvision regnet_x_400mf": {"fc.weight", "fc.bias"},
    "timm deit_tiny_distilled_patch16_224": {
        "head.weight",
        "head.bias",
        "head_dist.weight",
        "head_dist.bias",
    },
}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_depends_on_the_number_of_classes(name):
    model, _, architecture = name.partition(" ")
    settings = {"architecture": architecture} if architecture else {}
    shape = LARGE if architecture else SMALL
    assert head_names(model, settings, 10, shape) == HEADS[name]


def test_a_network_without_a_head_is_refused(monkeypatch):
    MODELS.add("headless", lambda num_classes, image_shape: torch.nn.Conv2d(3, 4, 1))
    try:
        with pytest.raises(RecipeError, match="no layer that depends on the number of classes"):
            head_names("headless", {}, 10, SMALL)
    finally:
        MODELS._added.pop("headless")


def test_new_head_begins_with_nearly_equal_probabilities_and_learns():
    torch.manual_seed(0)
    net = MODELS.load("timm")(10, LARGE, architecture="efficientnet_lite0")
    names = head_names("timm", {"architecture": "efficientnet_lite0"}, 10, LARGE)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    shrink(net, names, NEW_HEAD_SCALE)
    changed = {key for key, tensor in net.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"classifier.weight"} < names  # the bias is drawn as zeros
    answers = net.classifier(torch.full((4, net.classifier.in_features), 3.0))
    assert answers.softmax(1).amax() < 0.2
    torch.nn.functional.cross_entropy(answers, torch.arange(4)).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.classifier.parameters())


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3_small"])
def test_the_body_is_everything_else_and_in_large_pieces(name):
    net = MODELS.load(name)(10, SMALL)
    modules, weights = body(net, HEADS[name])
    held = {id(parameter) for module in modules for parameter in module.parameters()}
    assert held == {id(parameter) for parameter in weights}
    left = {key for key, parameter in net.named_parameters() if id(parameter) not in held}
    assert left == HEADS[name]
    assert len(modules) < 10


@pytest.mark.parametrize("architecture", ["googlenet", "inception_v3"])
def test_networks_with_another_normalisation_are_known(architecture):
    """torchvision turns ImageNet's normalisation into this one inside the published networks."""
    result = published("torchvision", {"architecture": architecture}, WHERE)
    assert (result.mean, result.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_tag_of_timms_names_weights_of_the_same_network():
    settings = {"architecture": "resnet10t.c3_in1k"}
    assert "timm/resnet10t.c3_in1k" in published("timm", settings, WHERE).url
    plain, tagged = (
        MODELS.load("timm")(5, SMALL, architecture=name).state_dict()
        for name in ("resnet10t", "resnet10t.c3_in1k")
    )
    assert {name: tensor.shape for name, tensor in plain.items()} == {
        name: tensor.shape for name, tensor in tagged.items()
    }

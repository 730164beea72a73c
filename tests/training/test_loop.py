"""fit(): the same weights with and without kills; loss or weights that are not finite are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from rot import flip
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from calkd_edge.errors import EnvironmentProblem, StageFailed
from calkd_edge.recipe.training import OptimizerSection, ScheduleSection, TrainingSection
from calkd_edge.training import accelerator
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.batch import Batch
from calkd_edge.training.checkpoint import checkpoints
from calkd_edge.training.loop import Frozen, Training, are_finite, fit

STEPS, SIZE = 3, 8


class OfPixels(nn.Sequential):
    def forward(self, images):
        return super().forward(images.float() / 255 if images.dtype == torch.uint8 else images)


class Net(nn.Module):
    """A small network with batch normalisation, dropout and momentum, which all have a state."""

    def __init__(self):
        super().__init__()
        self.net = OfPixels(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(216, 4)
        )
        self.scale = 1.0

    def forward(self, batch):
        logits = self.net(batch.images)
        return {
            "cross_entropy": F.cross_entropy(logits, batch.labels) * self.scale,
            "size": logits.square().mean() * 0.01,
        }


def batches(epoch, rank, world):
    generator = np.random.default_rng([epoch, rank])
    for step in range(STEPS):
        yield Batch(
            torch.from_numpy(generator.integers(0, 256, (SIZE, 3, 8, 8), dtype=np.uint8)),
            torch.from_numpy(generator.integers(0, 4, SIZE)),
            torch.arange(SIZE),
            epoch + step / STEPS,
        )


def train(
    folder,
    *,
    source=batches,
    epochs=4,
    optimizer=None,
    clip=None,
    net=None,
    seed=0,
    progress=None,
    frozen=0,
    plain_images=None,
    losses=(0.0, 0.0, 0.0),
    **more,
):
    folder.mkdir(exist_ok=True)
    torch.manual_seed(11)
    module = net or Net()
    judged = iter([{"calibration_nll": loss} for loss in losses])
    training = Training(
        section=TrainingSection(
            epochs=epochs,
            images_per_step=SIZE,
            optimizer=optimizer or OptimizerSection(lr=0.05),
            schedule=ScheduleSection(warmup_epochs=1),
            clip_gradient_norm=clip,
            **more,
        ),
        seed=seed,
        steps_per_epoch=STEPS,
        batches=source,
        final_figures=lambda: {"calibration_top1": 0.5},
        plain_images=plain_images or some_images,
        watch=lambda epoch: {"calibration_top1": 0.1 * epoch, **({} if epoch >= 0 else next(judged))},
        scratch=folder,
        history=folder / "history.jsonl",
        progress=progress or (lambda done, total: None),
        model=getattr(module, "net", module),
        frozen=Frozen(module.net[:2], list(module.net[:2].parameters())) if frozen else Frozen(),
        freeze_epochs=frozen,
    )
    fit(module, training, fabric_for("cpu", more.get("autocast")))
    return module.state_dict()


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class PowerCut(Exception):
    pass


def some_images(rank, world):
    """What batch normalisation is measured over."""
    generator = np.random.default_rng([rank, 0xB])
    for _ in range(STEPS):
        yield torch.from_numpy(generator.integers(0, 256, (SIZE, 3, 8, 8), dtype=np.uint8)).float() / 255


def cut_in(epoch, step):
    def source(at, rank, world):
        for number, batch in enumerate(batches(at, rank, world)):
            if (at, number) == (epoch, step):
                raise PowerCut
            yield batch

    return source


@pytest.mark.parametrize(
    "optimizer", [OptimizerSection(lr=0.05, nesterov=True), OptimizerSection(name="adamw", lr=0.01)]
)
@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 0), (2, 2), (3, 1)])
def test_interrupted_training_ends_with_the_same_weights(tmp_path, epoch, step, optimizer):
    complete = train(tmp_path / "whole", optimizer=optimizer)
    with pytest.raises(PowerCut):
        train(tmp_path / "cut", source=cut_in(epoch, step), optimizer=optimizer)
    torch.randn(17)  # what happened to the generator in between plays no part
    assert same(train(tmp_path / "cut", optimizer=optimizer), complete)
    lines = [(tmp_path / name / "history.jsonl").read_text() for name in ("whole", "cut")]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("more", [{"ema_decay": 0.8}, {"autocast": "bf16"}, {"frozen": 2}])
def test_interrupted_training_ends_the_same_with_every_stateful_option(tmp_path, more):
    plain, complete = train(tmp_path / "plain"), train(tmp_path / "whole", **more)
    assert not same(plain, complete)
    for epoch in (1, 3):
        with pytest.raises(PowerCut):
            train(tmp_path / "cut", source=cut_in(epoch, 1), **more)
    assert same(train(tmp_path / "cut", **more), complete)
    assert same(train(tmp_path / "cut", **more), complete)  # and when it was finished already


def test_average_ships_and_is_watched(tmp_path):
    shipped = train(tmp_path / "run", ema_decay=0.8)
    kept = torch.load(checkpoints(tmp_path / "run")[0], weights_only=True)
    average = kept["average"]["average"]
    of_weights = [name for name in shipped if ".1." not in name or name.endswith((".weight", ".bias"))]
    assert all(torch.equal(average[name.removeprefix("net.")], shipped[name]) for name in of_weights)
    assert not torch.equal(kept["module"]["net.0.weight"], shipped["net.0.weight"])


def test_frozen_modules_do_not_learn_in_the_first_epochs(tmp_path):
    torch.manual_seed(11)
    start = {name: tensor.clone() for name, tensor in Net().state_dict().items()}
    held = train(tmp_path / "held", frozen=4)
    for name in (
        "net.0.weight",
        "net.0.bias",
        "net.1.weight",
        "net.1.running_mean",
        "net.1.num_batches_tracked",
    ):
        assert torch.equal(held[name], start[name]), name
    assert not torch.equal(held["net.5.weight"], start["net.5.weight"])
    freed = train(tmp_path / "freed", frozen=3)
    assert not torch.equal(freed["net.0.weight"], start["net.0.weight"])
    assert int(freed["net.1.num_batches_tracked"]) == STEPS


@pytest.mark.parametrize("more", [{}, {"ema_decay": 0.8}], ids=["last weights", "averaged weights"])
def test_batch_norm_is_measured_in_the_final_weights_with_dropout_off(tmp_path, more):
    final = train(tmp_path / "run", **more)
    net = Net().double()
    net.load_state_dict(final)
    with torch.no_grad():
        read = [net.net[0](images.double()) for images in some_images(0, 1)]
    means = torch.stack([values.mean((0, 2, 3)) for values in read]).mean(0)
    variances = torch.stack([values.var((0, 2, 3)) for values in read]).mean(0)
    torch.testing.assert_close(final["net.1.running_mean"].double(), means)
    torch.testing.assert_close(final["net.1.running_var"].double(), variances)
    last = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert last["batch_norm_images"] == STEPS * SIZE
    assert (last["running_calibration_top1"], last["calibration_top1"]) == (pytest.approx(0.3), 0.5)
    kept = train(tmp_path / "kept", measure_batch_norm=False, **more)
    assert not torch.equal(kept["net.1.running_var"], final["net.1.running_var"])
    assert torch.equal(kept["net.0.weight"], final["net.0.weight"])


@pytest.mark.parametrize(
    ("losses", "chosen"), [((1, 2, 3), "plain"), ((2, 1, 3), "as_learnt"), ((2, 3, 1), "running")]
)
def test_statistics_of_the_lowest_loss_on_calibration_images_stay(tmp_path, losses, chosen):
    final = train(tmp_path / "run", losses=losses)
    last = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[-1])
    assert last["batch_norm_from"] == chosen
    assert [last[f"batch_norm_nll_{name}"] for name in ("plain", "as_learnt", "running")] == list(losses)
    net = Net()
    net.load_state_dict(final)
    images = {
        "plain": list(some_images(0, 1)),
        "as_learnt": [batch.images.float() / 255 for batch in batches(3, 0, 1)],
    }
    with torch.no_grad():
        means = {
            name: torch.stack([net.net[0](piece).mean((0, 2, 3)) for piece in pieces]).mean(0)
            for name, pieces in images.items()
        }
    means["running"] = train(tmp_path / "kept", measure_batch_norm=False)["net.1.running_mean"]
    for name, mean in means.items():
        assert torch.allclose(final["net.1.running_mean"], mean, atol=1e-5) == (name == chosen)


def test_lag_of_running_statistics_is_told_and_is_none_where_there_is_none(tmp_path):
    def figures(momentum, name):
        net = Net()
        net.net[1].momentum = momentum
        train(tmp_path / name, net=net, epochs=12, optimizer=OptimizerSection(lr=1e-9), **{"clip": 1e-9})
        return json.loads((tmp_path / name / "history.jsonl").read_text().splitlines()[-1])

    lags, follows = figures(0.001, "lags"), figures(0.5, "follows")
    assert lags["batch_norm_variance_ratio"] > 2 * follows["batch_norm_variance_ratio"]
    assert follows["batch_norm_variance_ratio"] == pytest.approx(1, abs=0.2)
    assert follows["batch_norm_mean_shift"] < 0.2


def test_autocast_without_support_is_refused():
    with pytest.raises(EnvironmentProblem, match="fp16 does not work on this accelerator") as refused:
        fabric_for("cpu", "fp16")
    assert "bf16" in refused.value.remedy


class Overflowing(Net):
    """The loss of chosen steps is infinite, as that of a float16 that overflowed."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.done = steps, 0

    def forward(self, batch):
        terms = super().forward(batch)
        factor = float("inf") if self.done in self.steps else 1.0
        self.done += 1
        return {name: term.float() * factor for name, term in terms.items()}


@pytest.fixture
def float16(monkeypatch):
    """float16 and its scaler on the CPU, where a recipe may not choose it; torch computes it there too."""
    monkeypatch.setattr(accelerator, "check_autocast", lambda *chosen: None)


def test_step_that_overflows_in_float16_counts_neither_in_the_mean_nor_in_the_average(tmp_path, float16):
    final = train(tmp_path / "run", net=Overflowing({0, 4}), autocast="fp16", ema_decay=0.9)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert all(0 < line["train_cross_entropy"] < 10 for line in lines)
    kept = torch.load(checkpoints(tmp_path / "run")[0], weights_only=True)
    assert kept["average"]["steps"] == 4 * STEPS - 2
    assert all(torch.isfinite(tensor.float()).all() for tensor in final.values())
    with pytest.raises(StageFailed, match="no step of epoch 2 had finite gradients"):
        train(tmp_path / "all", net=Overflowing(range(STEPS, 99)), autocast="fp16")


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_one_value_that_is_not_finite_is_noticed(value):
    tensors = [torch.ones(3), torch.ones(2, dtype=torch.float64), torch.tensor(7), torch.empty(0)]
    assert are_finite(tensors)
    assert are_finite([torch.tensor(7)])
    assert not are_finite([*tensors, torch.tensor([[1.0, value]])])
    assert are_finite([torch.tensor(1e300, dtype=torch.float64), torch.tensor(1.0)])


def test_cut_twice_it_still_ends_the_same(tmp_path):
    complete = train(tmp_path / "whole")
    for epoch in (1, 3):
        with pytest.raises(PowerCut):
            train(tmp_path / "cut", source=cut_in(epoch, 1))
    assert same(train(tmp_path / "cut"), complete)


def test_finished_training_is_not_done_again(tmp_path):
    complete = train(tmp_path / "run")
    read = []

    def noted(epoch, rank, world):
        read.append(epoch)
        return batches(epoch, rank, world)

    assert same(train(tmp_path / "run", source=noted), complete)
    assert read == [3]  # for the statistics of batch normalisation
    assert len((tmp_path / "run" / "history.jsonl").read_text().splitlines()) == 4


def test_incomplete_checkpoint_is_ignored(tmp_path):
    complete = train(tmp_path / "whole")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / ".epoch-000001.ckpt.123").write_bytes(b"half")
    assert same(train(tmp_path / "cut"), complete)


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoint_is_not_resumed_from(tmp_path, damaged):
    """The one before is, and the start where none is whole."""
    complete = train(tmp_path / "whole")
    with pytest.raises(PowerCut):
        train(tmp_path / "cut", source=cut_in(2, 1))
    kept = checkpoints(tmp_path / "cut")
    assert [path.name.split(".")[0] for path in kept] == ["epoch-000002", "epoch-000001"]
    for path in kept[:damaged]:
        flip(path)
    steps = []
    assert same(train(tmp_path / "cut", progress=lambda done, total: steps.append(done)), complete)
    assert steps[0] == (2 - damaged) * STEPS + 1


def test_another_seed_gives_other_weights(tmp_path):
    assert not same(train(tmp_path / "a", seed=0), train(tmp_path / "b", seed=1))


def test_history_has_a_line_per_epoch_with_terms_and_watched_figures(tmp_path):
    train(tmp_path / "run", measure_batch_norm=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert lines[2]["calibration_top1"] == pytest.approx(0.2)
    assert {key: lines[3].pop(key) for key in ("steps", "running_calibration_top1")}["steps"] == 4 * STEPS
    for line in lines:
        assert set(line) == {"epoch", "train_cross_entropy", "train_size", "calibration_top1"}
        assert 0 < line["train_cross_entropy"] < 10


def test_training_lowers_the_loss_on_images_it_can_learn(tmp_path):
    def fixed(epoch, rank, world):
        return batches(0, rank, world)

    train(tmp_path / "run", source=fixed, epochs=25)
    lines = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["train_cross_entropy"] < 0.7 * lines[0]["train_cross_entropy"]


def test_progress_counts_every_step(tmp_path):
    seen = []
    train(tmp_path / "run", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(number, 12) for number in range(1, 13)]


def test_clipping_bounds_the_step(tmp_path):
    section = OptimizerSection(lr=1.0, momentum=0.0, weight_decay=0.0)
    torch.manual_seed(11)
    start = {name: tensor.clone() for name, tensor in Net().named_parameters()}
    train(tmp_path / "run", optimizer=section, clip=1e-4, epochs=2)
    result = torch.load(checkpoints(tmp_path / "run")[0], weights_only=True)["module"]
    moved = torch.cat([(result[name] - tensor).ravel() for name, tensor in start.items()]).norm()
    # Two epochs of three steps; in the first the rate rises through 0, 1/3 and 2/3.
    assert 0 < moved <= 4 * 1e-4 * 1.01


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 1e38])
def test_loss_that_is_not_finite_is_refused(tmp_path, scale, clip):
    net = Net()
    net.scale = scale
    with pytest.raises(StageFailed, match="not finite after epoch") as refused:
        train(tmp_path / "run", net=net, clip=clip)
    assert "optimizer.lr" in refused.value.remedy
    assert not checkpoints(tmp_path / "run")


class _LastStepOverflows(nn.Module):
    """Its loss is finite at every step; the gradient of the last one is not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.steps = 0

    def forward(self, batch):
        self.steps += 1
        value = self.weight.square().sum()
        root = (self.weight - self.weight.detach()).abs().sqrt().sum()  # 0, with an infinite slope
        return {"loss": value + (root if self.steps == 2 * STEPS else 0.0)}


def test_weights_that_the_last_step_broke_are_refused(tmp_path):
    with pytest.raises(StageFailed, match="weights are not finite after epoch 2"):
        train(tmp_path / "run", net=_LastStepOverflows(), epochs=2)


class Louder(nn.Module):
    def forward(self, images):
        return images * 1e20


def test_a_running_variance_that_overflows_is_refused(tmp_path):
    """The output of the normalisation is finite; its running variance overflows float32."""
    net = Net()
    net.net = nn.Sequential(Louder(), nn.BatchNorm2d(3), *net.net)
    with pytest.raises(StageFailed, match="weights are not finite after epoch 1"):
        train(tmp_path / "run", net=net, epochs=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_a_device_is_refused():
    with pytest.raises(EnvironmentProblem, match="sees no CUDA device"):
        fabric_for("cuda")


def test_batch_moves_completely():
    batch = next(iter(batches(0, 0, 1)))
    assert batch.to(torch.device("cpu")).teacher_logits is None
    softened = Batch(batch.images, batch.labels, batch.indices, 0.0, torch.zeros(SIZE, 4))
    assert softened.to(torch.device("cpu")).teacher_logits.shape == (SIZE, 4)


class Reads(TorchDispatchMode):
    """Counts the operations between the steps of an epoch, and those whose result Python waits for."""

    def __init__(self):
        super().__init__()
        self.is_within, self.operations, self.reads = False, 0, []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if self.is_within:
            self.operations += 1
            if function._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal"):
                self.reads.append(function._schema.name)
        return function(*arguments, **(named or {}))

    def progress(self, done, total):
        self.is_within = bool(done % STEPS)


@pytest.mark.parametrize("reads", [False, True])
def test_no_step_waits_for_a_number(tmp_path, reads):
    class Reading(Net):
        def forward(self, batch):
            terms = super().forward(batch)
            self.scale = 1.0 if not reads or float(terms["size"].detach()) >= 0 else 0.0
            return terms

    counted = Reads()
    with counted:
        train(tmp_path, epochs=2, net=Reading(), progress=counted.progress, ema_decay=0.9, clip=1.0)
    assert counted.operations > 100
    assert len(counted.reads) == (2 * (STEPS - 1) if reads else 0)

"""What a teacher minimises: cross-entropy, smoothed or focal, by hand and at the edges of float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from calkd_edge.stages.teacher import Supervised
from calkd_edge.training.batch import Batch

LABELS = torch.tensor([0, 2, 1, 1])


class Given(nn.Module):
    """A model that answers with its parameter, whatever it is asked."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits


def loss_of(logits, **settings) -> tuple[torch.Tensor, Given]:
    model = Given(logits)
    batch = Batch(torch.zeros(4, 3, 2, 2), LABELS, torch.arange(4), 0.0, None)
    return Supervised(model, **settings)(batch)["cross_entropy"], model


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_focal_loss_weighs_each_image_by_what_is_left_to_learn(gamma):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(logits.double(), dim=1)[torch.arange(4), LABELS].numpy()
    expected = (-((1 - p) ** gamma) * np.log(p)).mean()
    assert loss_of(logits, focal_gamma=gamma)[0].item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_of_gamma_zero_is_cross_entropy():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert loss_of(logits)[0] == nn.functional.cross_entropy(logits, LABELS)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_finite_gradients_where_an_image_is_surely_right_or_wrong(gamma):
    logits = torch.tensor([[1e4, -1e4, 0], [1e4, -1e4, 0], [0, 0, 0], [0, 1e4, 0]])
    loss, model = loss_of(logits, focal_gamma=gamma)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(model.logits.grad).all()

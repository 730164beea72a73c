"""Class attention transfer: the image regions that are evidence for each class."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from calkd_edge.errors import RecipeError
from calkd_edge.losses.base import Context, Step, full_precision
from calkd_edge.losses.features import FeatureLoss, averaged_cells, direction, map_channels


def cat_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two sets of class activation maps, each map of length 1.

    Args:
        student: [B, K, P], a map of P cells for each of the K classes.
        teacher: [B, K, P].

    Source: Guo et al., "Class Attention Transfer Based Knowledge Distillation", CVPR 2023 (arXiv 2304.12777),
    its L_CAT; the mean over cells too is that of its authors' code.
    """
    return F.mse_loss(direction(student, 2), direction(teacher, 2))


def class_activation_maps(feature: Tensor, weight: Tensor, resolution: int) -> Tensor:
    """The classifier applied to each cell of the feature, without its bias, [B, K, resolution^2].

    The feature is pooled first, which gives the same result as pooling the maps.

    Args:
        feature: [B, C, H, W].
        weight: [K, C].
        resolution: cells along each side.

    Source: Zhou et al., CVPR 2016 (arXiv 1512.04150), eq. 2.
    """
    return weight @ averaged_cells(feature, (resolution, resolution)).flatten(2)


class CATKD(FeatureLoss):
    """Mean squared difference between the normalized class activation maps of student and teacher.

    For networks whose last map is averaged and read by one linear layer. Published for CIFAR-100
    beside 1 of cross-entropy: MobileNetV2 at resolution 2 with weight 40 (15 under VGG-13), ShuffleNetV1 and
    V2 at resolution 4 with weight 600 (80 under WRN-40-2).

    Args:
        context: its shapes are checked; it provides the classifiers; the student's learns from this loss.
        student: tap of the student's last map.
        teacher: tap of the teacher's last map.
        student_classifier: path of the student's linear layer ("classifier.1").
        teacher_classifier: path of the teacher's linear layer ("fc").
        resolution: cells along each side to which a map is pooled.

    Source: Guo et al., "Class Attention Transfer Based Knowledge Distillation", CVPR 2023 (arXiv 2304.12777).
    """

    def __init__(
        self,
        context: Context,
        *,
        student: str,
        teacher: str,
        student_classifier: str,
        teacher_classifier: str,
        resolution: Annotated[int, Field(ge=2, le=64)] = 2,
    ) -> None:
        super().__init__((student,), (teacher,))
        self.resolution = resolution
        student_channels = map_channels(context.student_shape(student), student, "cat_kd")
        teacher_channels = map_channels(context.teacher_shape(teacher), teacher, "cat_kd")
        student_module = context.student_module(student_classifier)
        teacher_module = context.teacher_module(teacher_classifier)
        # A tuple hides the networks' modules from torch: the loss must neither train nor save them.
        self._classifiers = (
            _classifier(student_module, student_classifier, student, student_channels),
            _classifier(teacher_module, teacher_classifier, teacher, teacher_channels),
        )

    def forward(self, step: Step) -> Tensor:
        """A scalar."""
        ((student, teacher),) = self.pairs(step)
        ours, theirs = (full_precision(classifier.weight) for classifier in self._classifiers)
        return cat_loss(
            class_activation_maps(student, ours.to(student.dtype), self.resolution),
            class_activation_maps(teacher, theirs.detach().to(teacher.dtype), self.resolution),
        )


def _classifier(module: nn.Module, path: str, tap: str, channels: int) -> nn.Linear:
    if not isinstance(module, nn.Linear) or module.in_features != channels:
        raise RecipeError(
            f"cat_kd: '{path}' does not read the {channels} channels of '{tap}': it is {module}",
            remedy="Name the linear layer that computes the logits, and tap the last map before the pooling.",
        )
    return module

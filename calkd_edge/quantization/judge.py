"""What a graph says of labelled images, computed as it is written: without any of a runtime's shortcuts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from calkd_edge.metrics.per_image import nll_per_image, top1

IMAGES_PER_RUN = 64


@dataclass(frozen=True)
class Answers:
    """What one graph said.

    Attributes:
        nll: mean over the images, in nats.
        right: [N] bool, whether the most probable class was the label.
    """

    nll: float
    right: np.ndarray

    def drop_from(self, reference: Answers) -> float:
        """By how much its top-1 lies below the reference's, on the same images: a share of whole images."""
        return (int(reference.right.sum()) - int(self.right.sum())) / len(self.right)


@dataclass(frozen=True)
class Judge:
    """Labelled images, for graphs to be held against.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def ask(self, model: onnx.ModelProto) -> Answers:
        """What a graph says, each node computed as it is written."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        feed = session.get_inputs()[0].name
        parts = []
        for start in range(0, len(self.images), IMAGES_PER_RUN):
            batch = np.ascontiguousarray(self.images[start : start + IMAGES_PER_RUN])
            parts.append(session.run(["logits"], {feed: batch})[0])
        logits = np.concatenate(parts)
        return Answers(float(nll_per_image(logits, self.labels).mean()), top1(logits) == self.labels)

"""Accuracy of a graph on labelled images, computed without the optimizations of a runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from calkd_edge.metrics.per_image import nll_per_image, top1

IMAGES_PER_RUN = 64


@dataclass(frozen=True)
class Accuracy:
    """Figures of one graph.

    Attributes:
        nll: mean over the images, in nats.
        right: [N] bool, whether the most probable class was the label.
    """

    nll: float
    right: np.ndarray

    def drop_from(self, reference: Accuracy) -> float:
        """The decrease in top-1 from the reference's on the same images, computed from numbers of images."""
        return (int(reference.right.sum()) - int(self.right.sum())) / len(self.right)


@dataclass(frozen=True)
class Evaluator:
    """Labelled images on which graphs are evaluated.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def evaluate(self, model: onnx.ModelProto) -> Accuracy:
        """The accuracy of a graph, with each node computed as it is written."""
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
        return Accuracy(float(nll_per_image(logits, self.labels).mean()), top1(logits) == self.labels)

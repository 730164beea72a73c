"""Logits and probabilities among the outputs of a device, checked before they are published."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from calkd_edge.errors import DeviceError
from calkd_edge.records import FloatArray


def scores_of(
    outputs: Mapping[str, FloatArray], *, file: str, device: str, classes: int
) -> tuple[FloatArray, FloatArray]:
    """Logits and probabilities, [N, C].

    Raises:
        DeviceError: they have other names, another shape or type, or values that no file of ours returns.
    """
    if not {"logits", "probabilities"} <= outputs.keys():
        raise _refusal(device, f"{file} returned {', '.join(outputs)}, not logits and probabilities")
    for name in ("logits", "probabilities"):
        values = outputs[name]
        if values.dtype.kind != "f" or values.ndim != 2 or values.shape[1] != classes:
            raise _refusal(
                device, f"{file} returned {name} of {values.dtype} {values.shape}, not [N, {classes}]"
            )
        # Minus infinity is the logit of a class that a network excludes.
        wrong = np.isnan(values) | (values == np.inf) if name == "logits" else ~np.isfinite(values)
        if wrong.any():
            count = int(wrong.any(axis=1).sum())
            raise _refusal(
                device, f"{file} returned {name} that are not finite for {count} of {len(values)} images"
            )
    return outputs["logits"], outputs["probabilities"]


def _refusal(device: str, what: str) -> DeviceError:
    return DeviceError(
        f"{device}: {what}",
        remedy="Run again; if it happens again, its runtime computes this file wrongly: use another runtime "
        "or precision there, or leave the device out (--skip-device).",
    )

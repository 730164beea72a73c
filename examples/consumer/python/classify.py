"""Classify photos with an unpacked bundle; needs numpy, pillow and onnxruntime, and nothing of calkd-edge.

    python classify.py BUNDLE student.int8.cpu.onnx PHOTO... [--precision 0.99 | --threshold 0.8] [--logits]

One line for each photo: its name, the class, the confidence, and "taken" or "left" by the threshold: your
own, or the one of which the bundle guarantees that precision. Without either, nothing is decided: "-".
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def decoded(photo: Path) -> Image.Image:
    """An upright RGB image; transparent parts on white."""
    image = ImageOps.exif_transpose(Image.open(photo))
    if image.mode.startswith("I") or image.mode == "F":
        raise SystemExit(f"{photo}: save it with 8 bits a channel")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def resized(image: Image.Image, how: str, width: int, height: int) -> Image.Image:
    """The image in the size of the input, as preprocessing.json says."""
    if how == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    across, down = width / image.width, height / image.height
    if how in ("crop", "center_crop"):
        part = (image.width, image.width * height / width)
        part = part if across >= down else (image.height * width / height, image.height)
        if how == "center_crop":
            part = (part[0] * 7 / 8, part[1] * 7 / 8)
        left, top = (image.width - part[0]) / 2, (image.height - part[1]) / 2
        box = (left, top, left + part[0], top + part[1])
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    if how == "pad":
        fitted, side = (width, image.width) if across <= down else (height, image.height)
        inner = [max(1, round(edge * fitted / side)) for edge in image.size]
        canvas = Image.new("RGB", (width, height))
        corner = ((width - inner[0]) // 2, (height - inner[1]) // 2)
        canvas.paste(image.resize(inner, Image.Resampling.BILINEAR), corner)
        return canvas
    if image.size != (width, height):
        raise SystemExit(f"a photo of {image.size}: this model was trained on images of {width} x {height}")
    return image


def guaranteed(bundle: Path, model: str, precision: float) -> float:
    """The threshold of which the bundle guarantees a precision for a model."""
    promises = json.loads((bundle / "thresholds.json").read_text("utf-8"))["guaranteed"]
    of_model = {item["precision"]: item["threshold"] for item in promises if item["file"] == model}
    if of_model.get(precision) is None:
        known = ", ".join(f"{wanted:g}" for wanted, threshold in of_model.items() if threshold is not None)
        raise SystemExit(
            f"no threshold of {model} is guaranteed to be right on {precision:.4g} of what it takes "
            f"(guaranteed: {known or 'none'}): choose one with --threshold"
        )
    return float(of_model[precision])


def main() -> None:
    """Read the bundle, then every photo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("model")
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--precision", type=float, help="one that the release's recipe names")
    parser.add_argument("--logits", action="store_true")
    given = parser.parse_args()
    resize = json.loads((given.bundle / "preprocessing.json").read_text("utf-8"))["resize"]
    labels = (given.bundle / "labels.txt").read_text("utf-8").splitlines()
    threshold = given.threshold
    if given.precision is not None:
        threshold = guaranteed(given.bundle, given.model, given.precision)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # int8 on x86 without VNNI
    session = onnxruntime.InferenceSession(str(given.bundle / given.model), options)
    for photo in given.photos:
        image = resized(decoded(photo), resize["how"], resize["width"], resize["height"])
        images = np.asarray(image, np.uint8).transpose(2, 0, 1)[None]
        logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
        best = int(probabilities[0].argmax())
        confidence, decision = probabilities[0, best], "-"
        if threshold is not None:  # in float32, as the release's figures are counted
            decision = "taken" if confidence >= np.float32(threshold) else "left"
        line = [photo.name, labels[best], f"{confidence:.4f}", decision]
        line += [" ".join(f"{value:.9g}" for value in logits[0])] if given.logits else []
        print(*line, sep="\t")


if __name__ == "__main__":
    main()

"""What every number on the page means, with its formula and its number of bins."""

from __future__ import annotations

from calkd_edge.metrics.intervals import FEWEST_IMAGES_FOR_A_MEAN, FEWEST_IMAGES_FOR_ECE
from calkd_edge.release.gates.gate_metrics import METRICS


def definitions(bins: int) -> list[tuple[str, str]]:
    """(term, explanation) in the order a reader meets them; `bins` of the calibration errors."""
    compared = ", ".join(name for name, metric in METRICS.items() if metric.against == "fp32")
    return [
        (
            "[low, high]",
            "Two one-sided bounds, each holding in 95 of 100 samples of images or runs. A gate "
            "passes when the whole "
            "interval is inside its limit, fails when it is wholly outside, and is undecided "
            "otherwise. What was not "
            "measured fails.",
        ),
        (
            "top-1, top-5",
            "Share of images whose label is the first guess, or among the first five (always 100 % "
            "with five classes "
            "or fewer). Of tied scores the lower class index counts as first. Bounds: Wilson's score "
            "interval.",
        ),
        (
            "NLL",
            "Mean of -log p(label) in nats, from log-softmax of the logits in double precision. "
            "Bounds: bootstrap-t. "
            f"Below {FEWEST_IMAGES_FOR_A_MEAN} images a gate on it stays undecided.",
        ),
        (
            "Brier",
            "Mean over images of the sum over classes of (p - one-hot label)², from 0 to 2. Bounds: "
            "bootstrap-t.",
        ),
        (
            "ECE",
            f"Expected calibration error: Σ over bins of images/N · |accuracy - mean confidence|, "
            f"{bins} equal-width "
            "bins (a, b], top label. ≤ is its upper bound 2·ECE - mean of resamples + 2 sd; the "
            "lower bound is "
            "max(0, ECE - chance - 1.645 sd). Over and under are the parts from bins more and less "
            "confident than "
            f"right. Below {FEWEST_IMAGES_FOR_ECE:,} images it is reported, not gated.",
        ),
        (
            "chance",
            "The ECE that a perfectly calibrated model with these confidences would show on so many images: "
            "√(2/π) · Σ √(Σ p(1 - p)) / N over the same bins. It shrinks with more images; it is "
            "printed, never "
            "subtracted.",
        ),
        (
            "ACE",
            f"Calibration error with {bins} bins of equally many images, ties together. Top-label: of "
            f"the predicted "
            "class. Classwise: for each class the probability given to it against how often it is "
            "true, the mean "
            "over classes.",
        ),
        (
            "p; chance, 95 %",
            "Outcomes drawn anew from the confidences themselves, 1,000 times: the share of draws whose ECE "
            "is as large as the one found, and what they exceed in 5 of 100. A small p: it is miscalibrated.",
        ),
        (
            "SCE, RMSCE, L2, MCE",
            f"SCE: the classwise error with {bins} equal-width bins. RMSCE: root of the mean squared "
            "gap. L2, debiased: the same with equal-mass bins, less accuracy (1 - accuracy) / (n - 1) of "
            "each bin. MCE: the largest gap of any bin, which a handful of images decides.",
        ),
        (
            "smECE, KS",
            "smECE: residuals smoothed by a Gaussian reflected at 0 and 1, of the bandwidth that equals "
            "their absolute integral. KS: the largest difference between the running sums of confidence "
            "and of hits, over images in order of confidence. Neither has bins.",
        ),
        (
            "Brier, top",
            "Mean of (confidence - right)² of the predicted class alone, from 0 to 1.",
        ),
        (
            "gap, refinement",
            "The temperature gap, and NLL less it: what no temperature mends.",
        ),
        (
            "AUROC, AURC",
            "AUROC: the chance that a right answer is more confident than a wrong one, ties half. AURC: the "
            "mean error rate among the k most confident images, over all k, ties averaged.",
        ),
        (
            "taken, right of these",
            "At a threshold on confidence: the share of images that reach it, and top-1 among them. Bounds: "
            "Wilson; of differences from fp32, Tango and Wilson bounds joined by their correlation.",
        ),
        (
            "T",
            "Temperature: logits are divided by T before softmax. The T of smallest NLL on the "
            "calibration split, ± "
            "its standard error. It changes confidence, never the order of classes.",
        ),
        (
            "temperature gap",
            "NLL minus NLL at the best temperature, cross-fitted in five folds: what one temperature "
            "could still mend.",
        ),
        (
            compared,
            "Against the same student's calibrated fp32 file on the same device, runtime and images. "
            "Shares: Tango's "
            "score interval, which leaves about 2.7/n open even without any disagreement. Means: "
            "paired bootstrap-t. "
            "Precision at a threshold: Wilson bounds joined by their correlation.",
        ),
        (
            "p50, p90, p95",
            "The time of one image, from host memory to host memory, that half, 90 % and 95 % of "
            "runs keep. Bounds: "
            "order statistics at the number of independent runs that the correlated series is worth; "
            "printed only "
            "where that number carries them. With several processes the worst one counts.",
        ),
        (
            "fold",
            "The temperature is written into the file's last layer. The proof runs the finished file "
            "on real images "
            "and compares with dividing its logits by hand.",
        ),
    ]

"""Names of the input and the outputs in the ONNX files that calkd-edge writes."""

INPUT, LOGITS, PROBABILITIES = "images", "logits", "probabilities"

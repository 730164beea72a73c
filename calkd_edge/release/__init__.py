"""From measurements to a verdict, a report and a bundle.

In scope: gates, report, figures, conclusions, bundle, model card.
Out of scope: measuring, devices, models; torch and onnx.
"""

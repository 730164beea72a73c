"""Numbers in, a decision, a page and a bundle out.

In scope: gates, report, figures, conclusions, bundle.
Out of scope: measuring again, devices, models; torch and onnx.
"""

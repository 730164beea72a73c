"""Gates: limits on measured figures, each passed, failed, undecided or unmeasured.

In scope: metrics of gates, the evidence they read, verdicts. Out of scope: measuring, drawing.
"""

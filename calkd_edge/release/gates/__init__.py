"""Gates: limits on measured figures, each passed, failed, undecided or unmeasured.

In scope: gate metrics, the evidence they read, checks of a recipe's gates, verdicts. Out of scope: measuring,
drawing.
"""

"""The report: figures, tables, sentences and pages from measurements.

In scope: report.json, report.html, the confidence-repair page. Out of scope: measuring, deciding.
"""

"""The report: figures, tables, sentences and pages from measurements.

In scope: report.json, report.html, the page of a calibrated file. Out of scope: measuring, deciding.
"""

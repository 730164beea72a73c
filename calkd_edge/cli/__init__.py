"""The command line: one file for each command of more than a few lines, and what it shows.

In scope: options, progress, tables. Out of scope: logic that a script would need.
"""

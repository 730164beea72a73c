"""What a person types: a file for each command that is more than a few lines, and what it shows.

In scope: options, progress, tables. Out of scope: logic that a script would need.
"""

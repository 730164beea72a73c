"""compress(): a recipe becomes a plan of stages, the plan is run, its results become a release.

In scope: looking names up, the order of work, reading stage folders, writing the release. Out of scope:
arithmetic, the terminal.
"""

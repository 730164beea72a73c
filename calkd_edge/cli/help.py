"""Help texts: options in titled groups, lines up to 120 columns wide, examples at the end.

In scope: how help looks, in plain text on a terminal and in a pipe. Out of scope: what options do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typer.core import TyperCommand, TyperGroup

from calkd_edge.files.paths import check_path

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

PROGRAM = "calkd-edge"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
"""Settings of the parser; its own default is 80 columns however wide the terminal is."""

COMPLETION = ("install_completion", "show_completion")
COMPLETION_HINT = "Shell completion: calkd-edge --install-completion, or --show-completion"

OTHER = "Other options"
FEWEST_TO_GROUP = 8
"""Options of a command; fewer stand in one list."""

EXAMPLES = {
    "": ("calkd-edge compress quickstart", "calkd-edge benchmark --device local"),
    "compress": (
        "calkd-edge compress quickstart --dry-run",
        "calkd-edge compress mobilenet_cifar100 --smoke --set data.root=DIR",
    ),
    "benchmark": (
        "calkd-edge benchmark runs/quickstart --device local",
        "calkd-edge benchmark model.onnx --device user@10.0.0.5 --profile standard",
    ),
    "evaluate": (
        "calkd-edge evaluate model.onnx --data images",
        "calkd-edge evaluate model.onnx --data images --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
    ),
    "calibrate": (
        "calkd-edge calibrate --model model.onnx --data images --output calibrated.onnx",
        "calkd-edge calibrate --predictions predictions.npz",
    ),
    "lint": ("calkd-edge lint model.onnx", "calkd-edge lint model.onnx --target onnxruntime --json"),
    "doctor": ("calkd-edge doctor", "calkd-edge doctor --device user@10.0.0.5"),
    "list": ("calkd-edge list", "calkd-edge list losses"),
    "schema": ("calkd-edge schema recipe",),
    "verify": ("calkd-edge verify runs/quickstart/bundle.zip --run",),
    "gate": (
        "calkd-edge gate runs/quickstart --baseline last/bundle.zip",
        "calkd-edge gate runs/quickstart --recipe stricter.yaml --junit gates.xml",
    ),
    "report": ("calkd-edge report runs/quickstart --output page.html",),
    "store": ("calkd-edge store check", "calkd-edge store gc --keep quickstart"),
    "store check": ("calkd-edge store check --store .calkd",),
    "store gc": ("calkd-edge store gc --keep quickstart --keep own_images --set data.root=DIR",),
}
"""The last lines of each command's help."""


class Command(TyperCommand):
    """A command whose help shows its options in groups, and examples below them; it checks given paths."""

    def invoke(self, ctx: Context) -> object:
        """Run the command, unless a path is one that no file can have."""
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            # Before its release 0.29, typer makes a Path of the text only when it calls the function.
            kind = getattr(getattr(parameter, "type", None), "name", None)
            if isinstance(value, Path) or (isinstance(value, str) and kind == "path"):
                options = [name for name in parameter.opts if name.startswith("--")]
                check_path(value, options[0] if options else str(parameter.metavar))
        return super().invoke(ctx)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write arguments and options, each group under its title."""
        write_groups(self, ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the examples."""
        write_examples(ctx, formatter)


class Group(TyperGroup):
    """Commands whose help shows the list of them, and examples below it."""

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands, then the options without those for completion, which have one line."""
        self.format_commands(ctx, formatter)
        write_groups(self, ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the examples and how to get completion."""
        write_examples(ctx, formatter)
        if ctx.parent is None:
            formatter.write_paragraph()
            formatter.write_text(COMPLETION_HINT)


def write_groups(command: TyperCommand | TyperGroup, ctx: Context, formatter: HelpFormatter) -> None:
    """Write arguments and options; of a command with many, each under the title `rich_help_panel`."""
    arguments: list[tuple[str, str]] = []
    options: list[tuple[str, str]] = []
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is None or parameter.name in COMPLETION:
            continue
        if parameter.param_type_name == "argument":
            name, text = record
            arguments.append((name.partition(" <")[0], text))
        else:
            options.append(record)
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or OTHER, []).append(record)
    if len(options) < FEWEST_TO_GROUP:
        groups = {"Options": options}
    else:
        groups[OTHER] = groups.pop(OTHER)
    for title, records in {"Arguments": arguments, **groups}.items():
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def write_examples(ctx: Context, formatter: HelpFormatter) -> None:
    """Write the examples of the command that the help is of, each on one line."""
    name = ctx.command_path.removeprefix(PROGRAM).strip()
    with formatter.section("Examples"):
        for example in EXAMPLES[name]:
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")

"""Names of ARM cores, where a system tells their part numbers alone."""

from __future__ import annotations

CORES = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd48": "Cortex-X2",
    "0xd49": "Neoverse N2",
    "0xd4d": "Cortex-A715",
    "0xd4e": "Cortex-X3",
    "0xd4f": "Neoverse V2",
    "0xd83": "Neoverse V3AE",
}
"""Names of ARM cores by part number, where /proc/cpuinfo has no name."""


def processor_name(cpu: str) -> str:
    """A processor's name for people.

    Example:
        >>> processor_name("0xd42"), processor_name("Intel Xeon")
        ('Cortex-A78AE', 'Intel Xeon')
    """
    return CORES.get(cpu, cpu)

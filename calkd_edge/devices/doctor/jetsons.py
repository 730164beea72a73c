"""NVIDIA's Jetsons: chip, JetPack, and the versions that it contains."""

from __future__ import annotations

import re
from typing import NamedTuple

from calkd_edge.devices.doctor.versions import Version, tensorrt_of, version_of
from calkd_edge.records import Jetson, MachineFacts


class Release(NamedTuple):
    """A JetPack and the versions that it contains; None where that is not known here."""

    jetpack: str
    cuda: str | None
    tensorrt: str | None


RELEASES: dict[Version, Release] = {
    (36, 3): Release("6.0", "12.2", "8.6"),
    (36, 4, 0): Release("6.1", "12.6", "10.3"),
    (36, 4, 2): Release("6.1", "12.6", "10.3"),
    (36, 4, 3): Release("6.2", "12.6", "10.3"),
    (36, 4, 4): Release("6.2.1", "12.6", "10.3"),
    (36, 4, 7): Release("6.2.1", "12.6", "10.3"),
    (36, 5, 0): Release("6.2.2", "12.6", None),
    (36, 5, 2): Release("6.2.3", "12.6", None),
    (38, 2): Release("7.0", "13.0", "10.13"),
    (38, 4): Release("7.1", "13.0", "10.13"),
    (39, 2, 0): Release("7.2", "13.2", "10.16"),
    (39, 2, 1): Release("7.2.1", None, None),
    (39, 2, 2): Release("7.2.2", None, None),
}
"""By the release of Jetson Linux, L4T: an entry of two numbers covers all releases that start with them."""

GENERATIONS = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}
"""JetPack's first number, for releases that are not listed."""

CHIPS = {
    "tegra210": ("Tegra X1", "sm_53"),
    "tegra186": ("Tegra X2", "sm_62"),
    "tegra194": ("Xavier", "sm_72"),
    "tegra234": ("Orin", "sm_87"),
    "tegra264": ("Thor", "sm_110"),
}

WITHOUT_DLA = ("tegra210", "tegra186", "tegra264")
ORIN_NANO = re.compile(r"p3767-000[345]")
DLA_LEFT, DLA_BACK = (10, 8), (11, 4, 1)
"""TensorRT from the first of these up to the second does not support DLA."""


def release_of(l4t: str | None) -> Release | None:
    """The JetPack of a release of Jetson Linux; None where even its generation is not known."""
    version = version_of(l4t)
    if version is None:
        return None
    known = RELEASES.get(version[:3]) or RELEASES.get(version[:2])
    generation = GENERATIONS.get(version[0])
    return known or (Release(f"{generation}.x", None, None) if generation else None)


def chip_of(facts: MachineFacts) -> str | None:
    """ "tegra234" where the board is a Jetson."""
    names = (name.partition(",")[2] for name in facts.compatible if name.startswith("nvidia,tegra"))
    return next(names, None)


def jetson_of(facts: MachineFacts) -> Jetson | None:
    """Chip, JetPack and versions of a Jetson; None for other machines."""
    chip = chip_of(facts)
    if chip is None:
        return None
    name, capability = CHIPS.get(chip, (chip, None))
    release = release_of(facts.l4t)
    return Jetson(
        chip=f"{chip} ({name})" if name != chip else chip,
        capability=capability,
        jetpack=release.jetpack if release else None,
        cuda=release.cuda if release else None,
        tensorrt=release.tensorrt if release else None,
        dla=_dla(facts, chip),
    )


def _dla(facts: MachineFacts, chip: str) -> str:
    """Whether it has deep-learning accelerators, and what uses them."""
    nano = "Orin Nano" in facts.board or any(ORIN_NANO.search(name) for name in facts.compatible)
    if chip in WITHOUT_DLA or nano:
        return "no DLA cores"
    version = version_of(tensorrt_of(facts))
    if version is None:
        return "DLA cores; not known whether TensorRT there uses them"
    if DLA_LEFT <= version < DLA_BACK:
        return "DLA cores, which TensorRT 10.8 to 11.4.0 do not use"
    return "DLA cores: fp16, and int8 at most as an experiment (devices.options.dla_core)"

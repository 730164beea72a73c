"""Lines of tegrastats in every documented format, their like in thousands, and the command itself."""

from __future__ import annotations

import math
import random
import string
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jetson_roots import AGX_LINE, MACHINES, command, plant

from calkd_edge.agent import board, sensors
from calkd_edge.agent.doctor import clocks
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.tegrastats import Tegrastats, parse

NANO = (
    "02-03-2026 10:11:12 RAM 2100/7620MB (lfb 9x4MB) SWAP 12/3810MB (cached 0MB) "
    "CPU [1%@729,4%@729,8%@1036,off,off,off] GR3D_FREQ 3% cpu@44.156C soc2@43.781C gpu@45.968C tj@45.968C "
    "VDD_IN 5263mW/5100mW VDD_CPU_GPU_CV 717mW/700mW VDD_SOC 1794mW/1790mW"
)
THOR = (
    "02-03-2026 10:11:12 RAM 9100/125772MB (lfb 1024x4MB) CPU [0%,5%,off,17%]@2601 "
    "GR3D_FREQ @[1574,1574,1574] cpu@61.5C/66C tj@66.625C/67C VDD_GPU 37939mW/8660mW/37940mW "
    "VDD_CPU_SOC_MSS 9000mW/8000mW/10000mW VIN 124486mW/36487mW/130000mW"
)
OLD = (
    "RAM 1200/3956MB (lfb 400x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [5%@102,off,3%@102,0%@102] EMC_FREQ 0% GR3D_FREQ 87%@921 PLL@31C PMIC@100C thermal@32.25C "
    "POM_5V_IN 1532/1532 POM_5V_CPU 123/123"
)
UNPRIVILEGED = "RAM 2100/7620MB (lfb 9x4MB) CPU [1%@729,off] GR3D_FREQ 0% cpu@44.156C tj@-12.5C"
LINES = (NANO, AGX_LINE, THOR, OLD, UNPRIVILEGED)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            NANO,
            {
                "power_mw.VDD_IN": 5263,
                "power_mw.VDD_CPU_GPU_CV": 717,
                "power_mw.VDD_SOC": 1794,
                "temperature_c.cpu": 44.156,
                "temperature_c.soc2": 43.781,
                "temperature_c.gpu": 45.968,
                "temperature_c.tj": 45.968,
                "load_percent.gpu": 3,
                "load_percent.cpu0": 1,
                "load_percent.cpu1": 4,
                "load_percent.cpu2": 8,
                "clock_mhz.cpu0": 729,
                "clock_mhz.cpu1": 729,
                "clock_mhz.cpu2": 1036,
                "memory_mb.ram": 2100,
                "memory_mb.swap": 12,
            },
        ),
        (
            AGX_LINE,
            {
                "power_mw.VDD_GPU_SOC": 3193,
                "power_mw.VDD_CPU_CV": 399,
                "power_mw.VIN_SYS_5V0": 4306,
                "power_mw.VDDQ_VDD2_1V8AO": 604,
                "temperature_c.cpu": 48.5,
                "temperature_c.tboard": 38.25,
                "temperature_c.tj": 48.5,
                "load_percent.gpu": 12,
                "clock_mhz.gpu": 1300,
                "load_percent.emc": 1,
                "clock_mhz.emc": 3199,
                "load_percent.cpu0": 4,
                "load_percent.cpu1": 0,
                "clock_mhz.cpu0": 2201,
                "clock_mhz.cpu1": 2201,
                "memory_mb.ram": 3210,
                "memory_mb.swap": 0,
            },
        ),
        (
            THOR,
            {
                "power_mw.VDD_GPU": 37939,
                "power_mw.VDD_CPU_SOC_MSS": 9000,
                "power_mw.VIN": 124486,
                "temperature_c.cpu": 61.5,
                "temperature_c.tj": 66.625,
                "clock_mhz.gpu": 1574,
                "load_percent.cpu0": 0,
                "load_percent.cpu1": 5,
                "load_percent.cpu3": 17,
                "clock_mhz.cpu0": 2601,
                "clock_mhz.cpu1": 2601,
                "clock_mhz.cpu3": 2601,
                "memory_mb.ram": 9100,
            },
        ),
        (
            OLD,
            {
                "power_mw.POM_5V_IN": 1532,
                "power_mw.POM_5V_CPU": 123,
                "temperature_c.PLL": 31,
                "temperature_c.thermal": 32.25,
                "load_percent.gpu": 87,
                "clock_mhz.gpu": 921,
                "load_percent.emc": 0,
                "load_percent.cpu0": 5,
                "load_percent.cpu2": 3,
                "load_percent.cpu3": 0,
                "clock_mhz.cpu0": 102,
                "clock_mhz.cpu2": 102,
                "clock_mhz.cpu3": 102,
                "memory_mb.ram": 1200,
                "memory_mb.swap": 0,
            },
        ),
        (
            UNPRIVILEGED,
            {
                "temperature_c.cpu": 44.156,
                "temperature_c.tj": -12.5,
                "load_percent.gpu": 0,
                "load_percent.cpu0": 1,
                "clock_mhz.cpu0": 729,
                "memory_mb.ram": 2100,
            },
        ),
        ("GR3D_FREQ 87%@[1574,1573]", {"load_percent.gpu": 87, "clock_mhz.gpu": 1574}),
        ("VDD_IN 5000mW", {"power_mw.VDD_IN": 5000}),
        ("VDD_IN 5000mW/1mW/2mW/3mW NVDLA0_FREQ @1600 VIC_FREQ 115 APE 174 MTS fg 0%", {}),
        ("", {}),
    ],
)
def test_line_is_read_whole(line, wanted):
    assert parse(line) == wanted


def test_every_rail_of_the_nano_is_of_now_and_not_the_average():
    values = parse("VDD_IN 1mW/2mW VDD_SOC 3mW/4mW/5mW")
    assert values == {"power_mw.VDD_IN": 1, "power_mw.VDD_SOC": 3}


PIECES = ("9" * 400, "-", "off", "mW", "%@", "/", "[", "nan", "1e999")


def mutated(line: str, draw: random.Random) -> str:
    """The line with some of its characters, words or numbers changed, doubled, dropped or cut."""
    for _ in range(draw.randint(1, 6)):
        at, to = sorted(draw.randrange(len(line) + 1) for _ in range(2))
        how = draw.randrange(6)
        if how == 0:
            line = line[:at] + line[to:]
        elif how == 1:
            line = line[:at] + line[at:to] * draw.randint(2, 4) + line[to:]
        elif how == 2:
            line = line[:at] + draw.choice(string.printable + "\0é٣²\ud800") + line[at + 1 :]
        elif how == 3:
            words = line.split(" ")
            draw.shuffle(words)
            line = " ".join(words)
        elif how == 4:
            line = line[:at] + draw.choice(PIECES) + line[at:]
        else:
            line = line[:at]
    return line


def test_twenty_thousand_damaged_lines_never_raise_and_give_finite_numbers():
    draw = random.Random(20)
    known = 0
    for number in range(20_000):
        values = parse(mutated(LINES[number % len(LINES)], draw))
        known += bool(values)
        assert all(math.isfinite(value) for value in values.values())
    assert known > 5_000, "most are still lines"


@given(st.text(max_size=300))
def test_any_text_is_a_line(text):
    assert all(math.isfinite(value) for value in parse(text).values())


@given(st.lists(st.sampled_from(" ".join(LINES).split()), max_size=60))
def test_any_order_of_words_is_a_line(words):
    for name, value in parse(" ".join(words)).items():
        assert math.isfinite(value)
        assert "." in name


def everything(machine: Machine) -> None:
    """Read all that files tell, without starting commands."""
    for read in (sensors.zones, sensors.rails, sensors.events, sensors.slowed):
        values = sensors.values(machine, read(machine))
        assert all(math.isfinite(value) for value in values.values())
    for clock in clocks(machine):
        assert clock["floats"] in (True, False, None)
    readers = [board.model, board.compatible, board.system, board.cpu_name, board.isa, board.l4t]
    readers += [board.memory, board.load_1min, board.on_battery, board.libraries, board.is_emulated]
    for read in readers:
        read(machine)


@pytest.mark.parametrize("name", MACHINES)
def test_damaged_system_files_never_raise(name, tmp_path):
    machine, draw = MACHINES[name](tmp_path), random.Random(name)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "usr" not in path.parts]
    kept = {path: path.read_bytes() for path in sorted(files)}
    for _ in range(60):
        changed = draw.sample(list(kept), min(len(kept), 12))
        for path in changed:
            text = mutated(kept[path].decode() or "0", draw)
            more = draw.choice([b"", b"\xff\xfe", b"\0" * 9])
            path.write_bytes(text.encode("utf-8", "surrogatepass") + more)
        everything(machine)
        for path in changed:
            path.write_bytes(kept[path])


@given(st.binary(max_size=40))
def test_any_bytes_in_a_sensor_are_a_number_or_nothing(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("zone")
    plant(folder, {"/sys/devices/virtual/thermal/thermal_zone0/type": "cpu\n"})
    (folder / "sys/devices/virtual/thermal/thermal_zone0/temp").write_bytes(content)
    values = sensors.values(Machine(str(folder)), sensors.zones(Machine(str(folder))))
    assert set(values) <= {"cpu"}
    assert all(math.isfinite(value) for value in values.values())


def is_alive(number: int) -> bool:
    """Whether that process runs: neither gone nor waiting to be taken note of."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_command_is_heard_and_ended_with_all_that_it_started(tmp_path):
    arguments = tmp_path / "arguments"
    script = f'sleep 600 & echo "$! $*" > "{arguments}"; while echo "VDD_IN 7mW/8mW"; do sleep 0.1; done'
    command(tmp_path, "tegrastats", script)
    with Tegrastats(str(tmp_path / "usr" / "bin" / "tegrastats"), 50) as stats:
        assert stats.power(10) == {"VDD_IN": 7.0}
        assert stats.latest_ns > 0
        child, *passed = arguments.read_text().split()
        assert is_alive(int(child))
    assert passed == ["--interval", "50"]
    assert stats._process.returncode is not None
    assert not stats._thread.is_alive()
    for _ in range(100):  # a killed process is gone a moment after the signal
        if not is_alive(int(child)):
            break
        time.sleep(0.05)
    assert not is_alive(int(child))


@pytest.mark.parametrize(
    "script", ["exit 1", "echo permission denied; exit 1", "exec cat /dev/zero", "exec sleep 60"]
)
def test_command_that_says_nothing_useful_gives_nothing(tmp_path, script):
    command(tmp_path, "tegrastats", script)
    with Tegrastats(str(tmp_path / "usr" / "bin" / "tegrastats")) as stats:
        assert stats.power(0.3) == {}


def test_command_that_ends_no_line_is_heard_in_pieces(tmp_path):
    command(tmp_path, "tegrastats", "exec cat /dev/zero")
    with Tegrastats(str(tmp_path / "usr" / "bin" / "tegrastats")) as stats:
        stats.power(10)
        assert stats.latest_ns > 0


def test_command_that_is_not_there_gives_nothing(tmp_path):
    with Tegrastats(str(tmp_path / "none")) as stats:
        assert stats.power(5) == {}


def test_command_that_ignores_being_asked_to_end_is_ended(tmp_path):
    command(tmp_path, "tegrastats", "trap '' TERM; while echo 'VDD_IN 7mW'; do sleep 0.1; done")
    with Tegrastats(str(tmp_path / "usr" / "bin" / "tegrastats")) as stats:
        assert stats.power(10)
    assert stats._process.returncode == -9


def test_units_that_are_off_and_rails_not_connected_have_no_columns():
    line = "RAM 1/2MB GPU@-256C PMIC@100C CPU@41.5C NC 0mW/0mW VDD_IN 4012mW/4000mW"
    assert parse(line) == {"memory_mb.ram": 1, "temperature_c.CPU": 41.5, "power_mw.VDD_IN": 4012}

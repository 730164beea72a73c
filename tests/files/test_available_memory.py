"""The memory that is available ends at the limit of a container."""

from __future__ import annotations

import pytest

from calkd_edge.files.available_memory import available_bytes

MIB = 1 << 20
STAT = (
    f"anon {60 * MIB}\nfile {30 * MIB}\ninactive_file {10 * MIB}\nactive_file {4 * MIB}\nshmem {16 * MIB}\n"
)
STAT_1 = "".join(f"{line.replace(' ', ' 1')}\ntotal_{line}\n" for line in STAT.splitlines())


def planted(root, groups, **files):
    """A machine with 1,000 MiB available, and this process in those groups."""
    content = {
        "proc/meminfo": "MemTotal: 9999999 kB\nMemAvailable:    1024000 kB\n",
        "proc/self/cgroup": groups,
    }
    for name, text in {**content, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version_2(folder, limit, used=100 * MIB, stat=STAT):
    base = f"sys/fs/cgroup/{folder}".rstrip("/")
    return {
        f"{base}/memory.max": f"{limit}\n",
        f"{base}/memory.current": f"{used}\n",
        f"{base}/memory.stat": stat,
    }


def version_1(folder, limit, used=100 * MIB):
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    texts = (f"{limit}\n", f"{used}\n", STAT_1)
    return {f"sys/fs/cgroup/memory{folder}/{name}": text for name, text in zip(names, texts, strict=True)}


UNLIMITED_1 = 9223372036854771712
GROUPS_1 = "9:name=systemd:/\n4:cpu,memory:/docker/ab\n1:cpuset:/\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "mib"),
    [
        ("", {}, 1000),
        ("0::/\n", version_2("", 512 * MIB), 426),  # the group of a container with a name space of its own
        ("0::/a/b\n", version_2("a/b", 512 * MIB) | version_2("a", "max"), 426),
        ("0::/a/b\n", version_2("a/b", 512 * MIB) | version_2("a", 300 * MIB), 214),  # a service's slice
        ("0::/a/b\n", version_2("a/b", "max"), 1000),
        ("0::/a\n", version_2("a", 4096 * MIB), 1000),
        ("0::/a\n", version_2("a", 50 * MIB), 0),
        ("0::/a\n", version_2("a", 512 * MIB, stat=""), 412),
        (GROUPS_1, version_1("/docker/ab", 512 * MIB) | version_1("", UNLIMITED_1), 426),
        (GROUPS_1, version_1("", 512 * MIB), 426),  # the group of a container without a name space of its own
        (GROUPS_1, version_1("/docker/ab", UNLIMITED_1), 1000),
    ],
)
def test_the_least_limit_counts_and_cached_files_are_free(tmp_path, groups, files, mib):
    assert available_bytes(planted(tmp_path, groups, **files)) == mib * MIB


def test_this_machine_has_some():
    assert available_bytes() > 64 * MIB


def test_a_machine_without_an_estimate_is_an_error(tmp_path):
    with pytest.raises(OSError, match="no MemAvailable"):
        available_bytes(tmp_path)

"""The CPUs that a run plans with are those that it may use."""

import os

import pytest

from benchmark.cluster import cpus

V2, V1 = "0::{path}\n", "5:cpu,cpuacct:{path}\n3:memory:/elsewhere\n0::/\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """machine(cgroup line, {file: content}, allowed CPUs) makes a machine; its CPUs are counted then."""

    def make(own, files, allowed=64):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(cpus, "OWN", tmp_path / "own")
        monkeypatch.setattr(cpus, "CGROUPS", tmp_path / "groups")
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed)))
        return cpus.usable_cpus()

    return make


@pytest.mark.parametrize(
    ("own", "files", "count"),
    [
        (V2.format(path="/"), {}, 64),
        (V2.format(path="/"), {"cpu.max": "max 100000"}, 64),
        (V2.format(path="/"), {"cpu.max": "400000 100000"}, 4),
        (V2.format(path="/job/step"), {"job/cpu.max": "250000 100000", "job/step/cpu.max": "max 100000"}, 2),
        (V2.format(path="/job/step"), {"job/cpu.max": "800000 100000", "job/step/cpu.max": "300000 100000"}, 3),
        (V2.format(path="/"), {"cpu.max": "50000 100000"}, 1),
        (V2.format(path="/of/the/host"), {"cpu.max": "300000 100000"}, 3),
        (V2.format(path="/job"), {"unified/job/cpu.max": "300000 100000"}, 3),
        (V1.format(path="/"), {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        (V1.format(path="/"), {"cpu/cpu.cfs_quota_us": "600000", "cpu/cpu.cfs_period_us": "100000"}, 6),
        (
            V1.format(path="/docker/x"),
            {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "150000", "cpu,cpuacct/docker/x/cpu.cfs_period_us": "50000"},
            3,
        ),
        (V2.format(path="/"), {"cpu.max": "nonsense"}, 64),
        (V2.format(path="/"), {"cpu.max": "0 0"}, 64),
        ("", {}, 64),
    ],
)
def test_quotas_of_control_groups(machine, own, files, count):
    assert machine(own, files) == count


def test_the_affinity_counts_where_it_is_smaller(machine):
    assert machine(V2.format(path="/"), {"cpu.max": "800000 100000"}, allowed=3) == 3


def test_without_linux_the_machine_is_counted(machine, monkeypatch):
    machine(V2.format(path="/"), {})
    (cpus.OWN).unlink()
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpus.usable_cpus() == os.cpu_count()

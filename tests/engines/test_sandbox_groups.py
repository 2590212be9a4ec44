"""Control groups of both versions, over a tree of files like the kernel's."""

from pathlib import Path

import pytest

from kumoi.engines.sandbox.cgroups import Hierarchy, Limits, hierarchy_find, settings_v1, settings_v2
from kumoi.engines.sandbox.system_etc import etc_make

LIMITS = Limits(cpu_milli=1_500, memory_bytes=64 << 20, processes=10)


def group_make(path: Path, *names: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).touch()


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """A mount of version 2 whose root may hand down what is needed, and a table of mounts that says so."""
    for path in (".", "kumoi", "kumoi/one"):
        group_make(tmp_path / path, "cgroup.subtree_control", "cgroup.procs")
        (tmp_path / path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "mounts").write_text(f"cgroup2 {tmp_path} cgroup2 rw,nosuid 0 0\n")
    return tmp_path


def test_version_2_is_used_where_it_can_limit(v2: Path) -> None:
    found = hierarchy_find("one", mounts=str(v2 / "mounts"))
    assert found is not None
    assert (found.version, found.bases) == (2, {"": f"{v2}/kumoi/one"})
    for path in (".", "kumoi", "kumoi/one"):
        assert (v2 / path / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_version_2_without_memory_is_not_used(v2: Path) -> None:
    (v2 / "cgroup.controllers").write_text("cpu pids\n")
    assert hierarchy_find("one", mounts=str(v2 / "mounts")) is None


def test_limits_of_version_2_are_written(v2: Path) -> None:
    found = hierarchy_find("one", mounts=str(v2 / "mounts"))
    assert found is not None
    names = ["memory.max", "memory.oom.group", "pids.max", "cpu.max", "cpu.weight"]
    group_make(v2 / "kumoi/one/att_1", *names)
    groups = found.create("att_1", LIMITS)
    assert groups == [f"{v2}/kumoi/one/att_1"]
    written = {name: (v2 / "kumoi/one/att_1" / name).read_text() for name in names}
    assert written == {
        "memory.max": str(64 << 20),
        "memory.oom.group": "1",
        "pids.max": "13",
        "cpu.max": "150000 100000",
        "cpu.weight": "150",
    }
    assert found.oom_watch("att_1") is None


def test_use_in_version_2_is_read(v2: Path) -> None:
    found = Hierarchy(2, {"": f"{v2}/kumoi/one"}, swap=False)
    group = v2 / "kumoi/one/att_1"
    group.mkdir()
    (group / "cpu.stat").write_text("usage_usec 1234\nuser_usec 1000\n")
    (group / "memory.events").write_text("low 0\noom 1\noom_kill 2\n")
    (group / "memory.peak").write_text("5678\n")
    assert found.usage("att_1") == (1234, 5678, True)
    assert found.usage("att_unknown") == (None, 0, False)
    assert found.attempts() == ["att_1"]


def test_swap_is_switched_off_where_there_is_some() -> None:
    assert ("memory.swap.max", "0") in settings_v2(LIMITS, swap=True)
    assert ("memory.swap.max", "0") not in settings_v2(LIMITS, swap=False)
    assert ("memory.swappiness", 0) in settings_v1(LIMITS, swap=True)["memory"]


def test_small_and_large_limits_stay_within_what_the_kernel_takes() -> None:
    tiny, huge = Limits(1, 4 << 20, 1), Limits(1_024_000, 64 << 40, 32_768)
    assert settings_v1(tiny, swap=False)["cpu"] == [("cpu.shares", 2), ("cpu.cfs_quota_us", 1_000)]
    assert settings_v1(huge, swap=False)["cpu"] == [
        ("cpu.shares", 262_144),
        ("cpu.cfs_quota_us", 102_400_000),
    ]
    assert ("cpu.max", "1000 100000") in settings_v2(tiny, swap=False)
    assert ("cpu.weight", "1") in settings_v2(tiny, swap=False)
    assert ("cpu.weight", "10000") in settings_v2(huge, swap=False)


def test_the_etc_of_tasks_holds_nothing_secret(tmp_path: Path) -> None:
    host, made = tmp_path / "host", tmp_path / "made"
    (host / "ssl/certs").mkdir(parents=True)
    (host / "ssl/private").mkdir()
    (host / "ssl/private/key.pem").write_text("secret")
    (host / "shadow").write_text("root:secret")
    (host / "ssl/certs/ca.pem").write_text("a certificate")
    (host / "ssl/certs/link.pem").symlink_to("ca.pem")
    (host / "services").write_text("for root only")
    (host / "services").chmod(0o600)
    etc_make(made, host)
    names = {str(path.relative_to(made)) for path in made.rglob("*") if not path.is_dir()}
    assert {"passwd", "group", "hosts", "ssl/certs/ca.pem", "ssl/certs/link.pem"} <= names
    assert not names & {"shadow", "services", "ssl/private/key.pem"}
    assert (made / "ssl/certs/link.pem").readlink() == Path("ca.pem")
    assert (made / "passwd").stat().st_mode & 0o777 == 0o644
    (made / "passwd").write_text("changed")
    etc_make(made, host)
    assert (made / "passwd").read_text() == "changed", "written again though nothing on the host had changed"

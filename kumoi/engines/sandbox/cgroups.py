# ruff: noqa: PTH102, PTH103, PTH106, PTH110
"""Control groups: memory, processes and CPU time that hold for root's tasks too. Version 2 or version 1.

One group per attempt, `kumoi/<incarnation>/<ref>`, in each hierarchy that counts. Sources: the kernel's
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

import contextlib
import os
import select
import signal
from collections.abc import Sequence

NEEDED = ("memory", "pids")
WANTED_V1 = ("cpu", "cpuacct")
PERIOD_US = 100_000
QUOTA_US_MIN = 1_000
SANDBOX_PROCESSES = 3
"""Beside the task's: bubblewrap, the first process of its namespace and, at the start, the supervisor."""

_SUPERVISORS = "_supervisors"
RETRY_ROUNDS = 20
"""How often what could not be killed before is tried in one go, 10 ms apart; there is always a next time."""

_KILL_ROUNDS = 200
_KILL_PAUSE_MS = 10


class Limits:
    """What one attempt may use. `processes` leaves out those of the sandbox itself."""

    __slots__ = ("cpu_milli", "memory_bytes", "processes")

    def __init__(self, cpu_milli: int, memory_bytes: int, processes: int) -> None:
        self.cpu_milli = cpu_milli
        self.memory_bytes = memory_bytes
        self.processes = processes


def settings_v1(limits: Limits, *, swap: bool) -> dict[str, list[tuple[str, int]]]:
    """File contents by controller, in the order in which the kernel accepts them."""
    memory = [("memory.limit_in_bytes", limits.memory_bytes)]
    if swap:
        memory.append(("memory.swappiness", 0))
    return {
        "memory": memory,
        "pids": [("pids.max", limits.processes + SANDBOX_PROCESSES)],
        "cpu": [
            ("cpu.shares", min(max(limits.cpu_milli * 1_024 // 1_000, 2), 262_144)),
            ("cpu.cfs_quota_us", max(limits.cpu_milli * PERIOD_US // 1_000, QUOTA_US_MIN)),
        ],
        "cpuacct": [],
    }


def settings_v2(limits: Limits, *, swap: bool) -> list[tuple[str, str]]:
    """File contents of the one group. All of an attempt dies if a part of it runs out of memory."""
    quota_us = max(limits.cpu_milli * PERIOD_US // 1_000, QUOTA_US_MIN)
    written = [
        ("memory.max", str(limits.memory_bytes)),
        ("memory.oom.group", "1"),
        ("pids.max", str(limits.processes + SANDBOX_PROCESSES)),
        ("cpu.max", f"{quota_us} {PERIOD_US}"),
        ("cpu.weight", str(min(max(limits.cpu_milli // 10, 1), 10_000))),
    ]
    return [*written, ("memory.swap.max", "0")] if swap else written


class Hierarchy:
    """The groups above all attempts: controller -> directory for version 1, {"": directory} for 2.

    `others` are directories of further hierarchies in which others may have made groups for an attempt.
    """

    __slots__ = ("bases", "others", "swap", "version")

    def __init__(
        self, version: int, bases: dict[str, str], *, swap: bool, others: Sequence[str] = ()
    ) -> None:
        self.version = version
        self.bases = bases
        self.others = others
        self.swap = swap

    def description(self) -> dict[str, object]:
        """The arguments of the constructor, for another process."""
        return {
            "version": self.version,
            "bases": self.bases,
            "swap": self.swap,
            "others": list(self.others),
        }

    def groups(self, ref: str) -> list[str]:
        """The directories of one attempt's groups, each once."""
        return list(dict.fromkeys(f"{base}/{ref}" for base in self.bases.values()))

    def supervisors(self) -> list[str]:
        """The groups of the supervisors, which are in an attempt's only for the moment they start it."""
        return self.groups(_SUPERVISORS)

    def create(self, ref: str, limits: Limits) -> list[str]:
        """Make the attempt's groups with their limits; what a crash left over is used again."""
        groups = self.groups(ref)
        for group in groups:
            try:
                os.mkdir(group, 0o755)
            except OSError:
                os.makedirs(group, mode=0o755, exist_ok=True)
        if self.version == 2:
            for name, value in settings_v2(limits, swap=self.swap):
                if name.partition(".")[0] != "cpu" or os.path.exists(f"{groups[0]}/{name}"):
                    _write(f"{groups[0]}/{name}", value)
            return groups
        for controller, values in settings_v1(limits, swap=self.swap).items():
            for name, number in values if controller in self.bases else ():
                _write(f"{self.bases[controller]}/{ref}/{name}", str(number))
        return groups

    def oom_watch(self, ref: str) -> int | None:
        """A descriptor that becomes readable when memory runs out; version 2 kills by itself instead."""
        if self.version == 2:
            return None
        group = f"{self.bases['memory']}/{ref}"
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open(f"{group}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(f"{group}/cgroup.event_control", f"{event} {control}")
        finally:
            os.close(control)
        return event

    def usage(self, ref: str) -> tuple[int | None, int, bool]:
        """(CPU microseconds or None, peak memory in bytes, whether memory ran out)."""
        if self.version == 2:
            group = f"{self.bases['']}/{ref}"
            used = _pairs(f"{group}/cpu.stat").get("usage_usec")
            oom = _pairs(f"{group}/memory.events").get("oom_kill", 0)
            return used, _number(f"{group}/memory.peak") or 0, oom > 0
        memory = f"{self.bases['memory']}/{ref}"
        cpu_us = None
        if "cpuacct" in self.bases:
            used_ns = _number(f"{self.bases['cpuacct']}/{ref}/cpuacct.usage")
            cpu_us = None if used_ns is None else used_ns // 1_000
        oom = _pairs(f"{memory}/memory.oom_control").get("oom_kill", 0)
        return cpu_us, _number(f"{memory}/memory.max_usage_in_bytes") or 0, oom > 0

    def members(self, ref: str) -> list[int]:
        """The processes that are in the attempt's groups."""
        found: set[int] = set()
        for top in self.groups(ref):
            for group in _tree(top):
                found.update(int(pid) for pid in _read(f"{group}/cgroup.procs").split())
        return sorted(found)

    def remove(self, ref: str, *, rounds: int = _KILL_ROUNDS) -> bool:
        """Kill what is left in the attempt's groups and remove them. False if something will not die."""
        for turn in range(rounds):
            tops = [*self.groups(ref), *(f"{base}/{ref}" for base in self.others)]
            busy = [top for top in tops if not _tree_remove(top)]
            if not busy:
                return True
            for pid in self.members(ref):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            select.select([], [], [], _KILL_PAUSE_MS / 1_000 if turn else 0.0)
        return False

    def attempts(self) -> list[str]:
        """The references of every attempt that has a group here."""
        found: set[str] = set()
        for base in self.bases.values():
            with contextlib.suppress(FileNotFoundError), os.scandir(base) as entries:
                found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return sorted(found - {_SUPERVISORS})


def hierarchy_find(incarnation: str, *, mounts: str = "/proc/self/mounts") -> Hierarchy | None:
    """The groups to use, made if need be: version 2 where memory and processes can be limited by it, else
    version 1, else None."""
    one: dict[str, str] = {}
    two = ""
    for line in _read(mounts).splitlines():
        _, target, kind, options = line.split()[:4]
        if kind == "cgroup2" and not two:
            two = target
        elif kind == "cgroup":
            for option in options.split(","):
                if option in (*NEEDED, *WANTED_V1):
                    one.setdefault(option, target)
    swap = len(_read("/proc/swaps").splitlines()) > 1
    name = f"kumoi/{incarnation}"
    if two and (base := _v2_base(two, name)):
        return Hierarchy(2, {"": base}, swap=swap)
    try:
        bases = {controller: f"{target}/{name}" for controller, target in one.items()}
        for base in bases.values():
            os.makedirs(base, mode=0o755, exist_ok=True)
    except OSError:
        return None
    usable = all(controller in bases and os.access(bases[controller], os.W_OK) for controller in NEEDED)
    return Hierarchy(1, bases, swap=swap) if usable else None


def _v2_base(mount: str, name: str) -> str | None:
    """A group of version 2 whose children can be limited: below our own if delegated, else the root."""
    own = next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    for top in dict.fromkeys((f"{mount}{own}".rstrip("/"), mount)):
        if not set(NEEDED) <= set(_read(f"{top}/cgroup.controllers").split()):
            continue
        try:
            os.makedirs(f"{top}/{name}", mode=0o755, exist_ok=True)
            _v2_delegate(top, name)
        except OSError:
            continue
        return f"{top}/{name}"
    return None


def _v2_delegate(top: str, name: str) -> None:
    """Hand the controllers down. A group that holds processes cannot: ours moves into a leaf of its own."""
    path = top
    for part in ("", *name.split("/")):
        path = f"{path}/{part}" if part else path
        try:
            _v2_hand_down(path)
        except OSError:
            if path != top:
                raise
            os.makedirs(f"{top}/plane", mode=0o755, exist_ok=True)
            _write(f"{top}/plane/cgroup.procs", str(os.getpid()))
            _v2_hand_down(path)


def _v2_hand_down(path: str) -> None:
    """Let the children of a group be limited, in CPU time too where the kernel allows that."""
    offered = _read(f"{path}/cgroup.controllers").split()
    needed = " ".join(f"+{controller}" for controller in NEEDED)
    if "cpu" in offered:
        with contextlib.suppress(OSError):
            return _write(f"{path}/cgroup.subtree_control", f"{needed} +cpu")
    _write(f"{path}/cgroup.subtree_control", needed)


def _tree(top: str) -> list[str]:
    """A group and those in it, the innermost first."""
    return [path for path, _, _ in os.walk(top, topdown=False)]


def _tree_remove(top: str) -> bool:
    """Remove a group with those in it; False if something is in one of them."""
    try:
        os.rmdir(top)
    except FileNotFoundError:
        return True
    except OSError:
        inner = _tree(top)[:-1]
        return bool(inner) and all(_tree_remove(path) for path in inner) and _tree_remove(top)
    return True


def group_enter(groups: list[str]) -> None:
    """Move the calling process into the groups."""
    for group in groups:
        _write(f"{group}/cgroup.procs", "0")


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 1 << 20).decode(errors="replace")
    finally:
        os.close(fd)


def _number(path: str) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _pairs(path: str) -> dict[str, int]:
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

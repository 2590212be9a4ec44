"""The control groups of containers, in every hierarchy in which podman and runc make some."""

from pathlib import Path

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.sandbox.cgroups import Hierarchy, hierarchy_find


def groups_find(incarnation: str, *, mounts: Path = Path("/proc/self/mounts")) -> tuple[Hierarchy, str]:
    """The groups above all containers, and their path below every hierarchy's mount (`--cgroup-parent`).

    EngineUnavailable where memory and processes cannot be limited.
    """
    found = hierarchy_find(f"{incarnation}-podman", mounts=str(mounts))
    if found is None:
        raise EngineUnavailable("containers need writable control groups for memory and processes")
    rows = [line.split() for line in mounts.read_text().splitlines()]
    targets = [row[1] for row in rows if row[2] in ("cgroup", "cgroup2")]
    bases = set(found.bases.values())
    base = min(bases)
    path = base.removeprefix(max((target for target in targets if base.startswith(f"{target}/")), key=len))
    found.others = sorted({f"{target}{path}" for target in targets} - bases)
    return found, path

"""What the engine tells the fork-server: once about itself, then about each attempt."""

from typing import TYPE_CHECKING, NamedTuple, TypedDict

from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.engines.sandbox.records import Layout

if TYPE_CHECKING:
    from kumoi.engines.sandbox.runtime import Runtime


class Task(TypedDict):
    """One attempt, as JSON over the private socket. Secrets are file name -> base64; `uid` is None where
    the engine is not root. `name` is the attempt's among what all
    engines and regions have on this machine; `image` is for engines with containers."""

    ref: str
    organization_id: str
    project_id: str
    uid: int | None
    command: list[str]
    environment: dict[str, str]
    secrets: dict[str, str]
    devices: list[str]
    network: bool
    port: int | None
    name: str
    image: str | None
    cpu_milli: int
    memory_bytes: int
    processes: int
    wall_time_s: int
    log_bytes: int
    file_bytes: int
    start_before_us: int
    lease_expires_us: int | None


class Setting(NamedTuple):
    """What all attempts share. `mounts_fd` is the plane's mount namespace. A supervisor has at most
    `attempts_max` attempts, and `runtime` is its way to run their commands."""

    layout: Layout
    files_root: str
    nudge: str
    boot_id: str
    hierarchy: Hierarchy | None
    makes_network: bool
    mounts_fd: int
    attempts_max: int
    runtime: "Runtime"


class Launched(NamedTuple):
    """A sandbox that was started; the three pipes are read by the supervisor and do not block."""

    pid: int
    pidfd: int
    stdout: int
    stderr: int
    status: int

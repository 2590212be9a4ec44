"""What the engine tells the fork-server: once about itself, then about each attempt."""

from typing import NamedTuple, TypedDict

from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.engines.sandbox.records import Layout


class Task(TypedDict):
    """One attempt, as JSON over the private socket. Secrets are file name -> base64; `uid` is None where
    the engine is not root. `network_name` is that of a serving attempt's network, "" where it has none."""

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
    network_name: str
    cpu_milli: int
    memory_bytes: int
    processes: int
    wall_time_s: int
    log_bytes: int
    file_bytes: int
    start_before_us: int
    lease_expires_us: int | None


class Setting(NamedTuple):
    """What all attempts share. `system` is the part of bubblewrap's arguments that never changes; `etc` and
    `files` are where the project's user reaches the /etc for tasks and the projects' files. `mounts_fd` is
    the plane's mount namespace. A supervisor has at most `attempts_max` attempts."""

    layout: Layout
    files_root: str
    nudge: str
    bwrap: str
    boot_id: str
    hierarchy: Hierarchy | None
    etc: str
    files: str
    seccomp_fd: int
    makes_network: bool
    mounts_fd: int
    attempts_max: int
    system: list[str]

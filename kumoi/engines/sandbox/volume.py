"""Where an organization's volume has what, below the root of volumes (`kumoi.store.volumes`).

Whoever starts work has the volume mounted before. Nothing here makes its directories: where they are missing
the volume is not mounted, and whatever was written would not be encrypted.
"""

import contextlib
import os

from kumoi.engines.sandbox.task import Task

PROJECTS, LOGS = "projects", "logs"
STREAMS = ("stdout", "stderr")
_PASSABLE = 0o011
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class VolumeMissing(OSError):
    """The volume is not mounted here."""


def project_path(root: str, organization_id: str, project_id: str) -> str:
    """The directory of a project's files."""
    return f"{root}/{organization_id}/{PROJECTS}/{project_id}"


def project_make(root: str, task: Task) -> None:
    """Make the project's files directory if need be, and give it to the project's user. VolumeMissing, or
    OSError.

    Only the directory itself is ever touched, through descriptors that follow no link: what is in it
    belongs to the tenant, who may put any trap there.
    """
    uid, name = task["uid"], task["project_id"]
    opened = [_volume_open(root, task["organization_id"], PROJECTS)]
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=opened[0])
        opened.append(os.open(name, _DIRECTORY, dir_fd=opened[0]))
        if uid is not None and os.fstat(opened[1]).st_uid != uid:
            os.fchown(opened[1], uid, uid)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def logs_open(root: str, organization_id: str) -> int:
    """A descriptor of the directory of logs, which stays usable when the volume is detached. VolumeMissing,
    or OSError."""
    return _volume_open(root, organization_id, LOGS)


def log_create(logs: int, ref: str, stream: str) -> int:
    """A descriptor to write and read a stream's new log."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(ref, 0o700, dir_fd=logs)
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(f"{ref}/{stream}", flags, 0o600, dir_fd=logs)


def log_open(root: str, organization_id: str, ref: str, stream: str) -> int:
    """A descriptor to read a stream's log. FileNotFoundError if there is none, VolumeMissing, or OSError."""
    logs = logs_open(root, organization_id)
    try:
        return os.open(f"{ref}/{stream}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=logs)
    finally:
        os.close(logs)


def logs_remove(root: str, organization_id: str, ref: str) -> None:
    """Remove an attempt's logs. VolumeMissing, or OSError."""
    logs = logs_open(root, organization_id)
    try:
        directory = os.open(ref, _DIRECTORY, dir_fd=logs)
        try:
            for stream in STREAMS:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(stream, dir_fd=directory)
        finally:
            os.close(directory)
        os.rmdir(ref, dir_fd=logs)
    except FileNotFoundError:
        pass
    finally:
        os.close(logs)


def _volume_open(root: str, organization_id: str, part: str) -> int:
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in (organization_id, part):
            parent, opened = opened, os.open(name, _DIRECTORY, dir_fd=opened)
            os.close(parent)
    except FileNotFoundError:
        os.close(opened)
        raise VolumeMissing(f"the volume of {organization_id} is not mounted") from None
    except BaseException:
        os.close(opened)
        raise
    return opened

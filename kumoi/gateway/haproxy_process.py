"""HAProxy's process and its runtime socket: start, replace without losing a connection, ask, end.

It is a daemon of its own, so it goes on when the gateway's Python dies; the next gateway finds it by its pid.
"""

import asyncio
import contextlib
import csv
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Final

from kumoi.gateway.haproxy_config import Places

USERS: Final = ("haproxy", "nobody")
START_S: Final = 10.0
ASK_S: Final = 2.0
COMMANDS_AT_ONCE: Final = 20


class HaproxyFailed(Exception):
    """HAProxy cannot be started, or does not answer."""


def haproxy_find() -> str | None:
    """Where the program is, if it is installed."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def identity_find() -> tuple[int, int] | None:
    """Which user and group HAProxy becomes: its package's, or nobody. None where this process is not root."""
    if os.geteuid() != 0:
        return None
    for name in USERS:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            if _mapped("uid", user.pw_uid) and _mapped("gid", user.pw_gid):
                return user.pw_uid, user.pw_gid
    return None


def _mapped(kind: str, number: int) -> bool:
    """Whether there is such a user or group in our user namespace."""
    ranges = (line.split() for line in Path(f"/proc/self/{kind}_map").read_text("ascii").splitlines())
    return any(int(first) <= number < int(first) + int(count) for first, _outside, count in ranges)


def sockets_prepare(places: Places) -> None:
    """The directories that HAProxy needs; where it drops root it may reach the sockets in one of them."""
    for directory in (places.directory, places.sockets):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if places.identity is not None:
        os.chown(places.sockets, -1, places.identity[1])
        places.sockets.chmod(0o710)


def socket_admit(place: Path, places: Places) -> None:
    """Let nobody but HAProxy connect to one of the sockets."""
    if places.identity is not None:
        os.chown(place, -1, places.identity[1])
    place.chmod(0o600 if places.identity is None else 0o660)


def pid_read(place: Path) -> int | None:
    """The process that a pid file names, if it runs and is the HAProxy that was started with that file."""
    try:
        pid = int(place.read_text("ascii").split()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    return pid if os.fsencode(place) in words else None


def pids_of(directory: Path) -> dict[int, Path]:
    """Every HAProxy that was started with a pid file in `directory`, and that file, which may be gone."""
    found: dict[int, Path] = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError, ValueError):
            if not _runs_haproxy(place.parent):
                continue
            words = place.read_bytes().split(b"\0")
            pid_file = Path(os.fsdecode(words[words.index(b"-p") + 1]))
            if pid_file.parent == directory and b"-D" in words:
                found[int(place.parent.name)] = pid_file
    return found


def _runs_haproxy(process: Path) -> bool:
    """A task can be started with whatever arguments it likes, so the program's file tells. Of one that was
    upgraded the kernel says that it is deleted; without CAP_SYS_PTRACE it says nothing but a name."""
    try:
        name = (process / "exe").readlink().name
    except PermissionError:
        name = (process / "comm").read_text("ascii", "replace").strip()
    return name.removesuffix(" (deleted)") == "haproxy"


def pid_end(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def haproxy_start(program: str, config: Path, pid_file: Path, *words: str) -> int:
    """Start it as a daemon and give its pid. `words` may name the process to take over from."""
    errors = config.with_suffix(".err")
    with errors.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            program,
            *("-D", "-f", str(config), "-p", str(pid_file), *words),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(START_S):
                status = await process.wait()
        except TimeoutError:
            process.kill()
            raise HaproxyFailed(f"haproxy did not start within {START_S:g} s") from None
    pid = pid_read(pid_file)
    if status != 0 or pid is None:
        raise HaproxyFailed(f"haproxy does not start: {errors.read_text('utf-8', 'replace')[-2_000:]}")
    return pid


async def haproxy_ask(admin: Path, command: str) -> str:
    """One command's answer from the runtime socket."""
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_unix_connection(admin)
            try:
                writer.write(command.encode() + b"\n")
                answer = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise HaproxyFailed(f"haproxy does not answer: {type(error).__name__} {error}") from error
    return answer.decode("utf-8", "replace")


async def haproxy_order(admin: Path, commands: list[str]) -> str:
    """Several commands; all answers."""
    answers = [
        await haproxy_ask(admin, ";".join(commands[start : start + COMMANDS_AT_ONCE]))
        for start in range(0, len(commands), COMMANDS_AT_ONCE)
    ]
    return "".join(answers)


async def haproxy_rows(admin: Path) -> list[dict[str, str]]:
    """Backends and servers, as `show stat` has them."""
    text = await haproxy_ask(admin, "show stat -1 6 -1")
    return list(csv.DictReader(text.removeprefix("# ").splitlines()))


async def haproxy_counts(admin: Path) -> dict[int, list[int]]:
    """The counts that the configuration keeps, by the backend's number."""
    found: dict[int, list[int]] = {}
    for line in (await haproxy_ask(admin, "show table counts")).splitlines():
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "key" in words:
            found[int(words["key"])] = [int(value) for name, value in words.items() if name.startswith("gpc")]
    return found

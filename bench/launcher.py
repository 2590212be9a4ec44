"""The raw launch rate of bubblewrap: the limit for every engine that is built on it.

Run as a program of its own, so that what it forks is small. It starts `true` in sandboxes with the arguments
of the sandbox engine (a namespace of every kind each) and as a user of its own where it is root,
`concurrency` at a time, and does nothing else: no supervisor, no control group, no record, no output.

    launcher.py COUNT CONCURRENCY -> the seconds it took, then each launch's milliseconds
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from kumoi.engines.sandbox.bubblewrap import ENVIRONMENT, PROJECT_DIR, system_arguments
from kumoi.engines.sandbox.probe import seccomp_program

UID = 290_000
MEMORY_BYTES = 256 << 20


def main() -> None:
    """Launch, and print one JSON object."""
    count, concurrency = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="kumoi-bench-launch-") as place:
        Path(place).chmod(0o755)
        for name in ("etc", "project"):
            Path(place, name).mkdir(0o755)
        if os.getuid() == 0:
            os.chown(f"{place}/project", UID, UID)
        total_s, each_ms = launches(place, count, concurrency)
    print(json.dumps({"total_s": total_s, "each_ms": each_ms}))


def launches(place: str, count: int, concurrency: int) -> tuple[float, list[float]]:
    """Seconds for all of them, and milliseconds from fork to end of each."""
    system, program = system_arguments(), seccomp_program()
    running: dict[int, float] = {}
    each_ms: list[float] = []
    started = 0
    begun = time.perf_counter()
    while len(each_ms) < count:
        while started < count and len(running) < concurrency:
            running[launch(place, system, program)] = time.perf_counter()
            started += 1
        pid, status = os.wait()
        if pid not in running:
            continue
        if status:
            raise SystemExit(f"bubblewrap failed with status {status}")
        each_ms.append((time.perf_counter() - running.pop(pid)) * 1_000)
    return time.perf_counter() - begun, each_ms


def launch(place: str, system: list[str], program: bytes) -> int:
    """Fork one sandbox; returns its process."""
    seccomp = os.memfd_create("seccomp")
    os.write(seccomp, program)
    os.lseek(seccomp, 0, os.SEEK_SET)
    status = os.open(os.devnull, os.O_RDWR)
    arguments = [
        *system,
        *("--ro-bind", f"{place}/etc", "/etc"),
        *("--perms", "1777", "--size", str(MEMORY_BYTES), "--tmpfs", "/tmp"),
        *("--bind", f"{place}/project", PROJECT_DIR, "--chdir", PROJECT_DIR),
        *("--remount-ro", "/", "--seccomp", str(seccomp), "--json-status-fd", str(status), "--clearenv"),
    ]
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    options = os.memfd_create("arguments")
    os.write(options, b"".join(argument.encode() + b"\0" for argument in arguments))
    os.lseek(options, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        try:
            for descriptor in (seccomp, status, options):
                os.set_inheritable(descriptor, True)
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(UID, UID, UID)
                os.setresuid(UID, UID, UID)
            os.execvp("bwrap", ["bwrap", "--args", str(options), "--", "true"])
        finally:
            os._exit(127)
    for descriptor in (seccomp, status, options):
        os.close(descriptor)
    return pid


if __name__ == "__main__":
    main()

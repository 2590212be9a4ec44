"""What differs between engines in a supervisor: how a command is started, watched and understood."""

import os
from collections.abc import Callable
from typing import Protocol

from kumoi.engines.sandbox.bubblewrap import system_arguments
from kumoi.engines.sandbox.ending import End, end_of
from kumoi.engines.sandbox.launch import Sandboxes, launch
from kumoi.engines.sandbox.staging import stage
from kumoi.engines.sandbox.task import Launched, Setting, Task
from kumoi.engines.sandbox.watch import Watch

Told = Callable[[dict[str, object]], None]


class Runtime(Protocol):
    """A way to run commands. With `limits_files` a supervisor limits the size of files, and the command
    inherits that; otherwise it is this that limits it."""

    limits_files: bool

    def launch(self, setting: Setting, task: Task, groups: list[str], /) -> Launched:
        """Start the attempt's command, in its control groups. OSError if it cannot; then nothing runs."""

    def watch(
        self,
        setting: Setting,
        task: Task,
        launched: Launched,
        oom: int | None,
        wake: int,
        told: Told | None,
        /,
    ) -> Watch:
        """Who waits for it."""

    def end_of(self, status: int, watch: Watch, out_of_memory: bool, command: list[str]) -> End:
        """How it ended, everything of it being gone."""


class Bubblewrap:
    """Runs each command in a bubblewrap."""

    limits_files = True

    def __init__(self, hello: dict[str, object]) -> None:
        program = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        os.write(program, bytes.fromhex(str(hello["seccomp"])))
        etc, files = str(hello["etc"]), str(hello["files_root"])
        if os.getuid() == 0:
            etc, files = stage(etc, files)
        self._shared = Sandboxes(str(hello["bwrap"]), etc, files, program, system_arguments())

    def launch(self, setting: Setting, task: Task, groups: list[str], /) -> Launched:
        """See `Runtime.launch`."""
        return launch(self._shared, setting, task, groups)

    def watch(
        self,
        setting: Setting,
        task: Task,
        launched: Launched,
        oom: int | None,
        wake: int,
        told: Told | None,
        /,
    ) -> Watch:
        """See `Runtime.watch`."""
        return Watch(setting, task, launched, oom, wake, told)

    def end_of(self, status: int, watch: Watch, out_of_memory: bool, command: list[str]) -> End:
        """See `Runtime.end_of`."""
        return end_of(status, watch, out_of_memory, command[0])

"""What an end says of a command that could not be run: the reason, and never the command."""

import errno
import os
from types import SimpleNamespace
from typing import Any

import pytest

from kumoi.engines.podman.ending import container_end_of
from kumoi.engines.sandbox.ending import NOT_EXECUTABLE, NOT_FOUND, end_of

NAME = "/bin/canary-name"
MISSING = os.strerror(errno.ENOENT)


def watch(complaint: str, exit_code: int | None = None) -> Any:
    """A watch over something that ended by itself."""
    logs = SimpleNamespace(complaint=complaint)
    return SimpleNamespace(logs=logs, exit_code=exit_code, cause=None, set_up=False, out_of_memory=False)


@pytest.mark.parametrize(
    ("complaint", "outcome", "exit_code", "detail"),
    [
        (f"bwrap: execvp {NAME}: {MISSING}", "exited", NOT_FOUND, f"the command cannot be run: {MISSING}"),
        (
            f"bwrap: execvp {NAME}: {os.strerror(errno.EACCES)}",
            "exited",
            NOT_EXECUTABLE,
            "the command cannot be run: Permission denied",
        ),
        (
            f"bwrap: execvp {NAME}: {os.strerror(errno.ENOMEM)}",
            "start_failed",
            None,
            "the command cannot be started: Cannot allocate memory",
        ),
        # Cut by the limit of the log.
        (
            "bwrap: execvp /bin/cana",
            "start_failed",
            None,
            "the command cannot be started: bubblewrap cannot execute it",
        ),
        ("first\nbwrap: no room", "start_failed", None, "the command cannot be started: bwrap: no room"),
    ],
)
def test_the_sandbox_does_not_name_it(
    complaint: str, outcome: str, exit_code: int | None, detail: str
) -> None:
    end = end_of(1 << 8, watch(complaint), False, NAME)
    assert (end.outcome, end.exit_code, end.detail) == (outcome, exit_code, detail)


def test_a_name_of_several_lines_is_not_named_either() -> None:
    name = "/bin/x\ncanary: name"
    end = end_of(1 << 8, watch(f"bwrap: execvp {name}: {os.strerror(errno.ENOMEM)}"), False, name)
    assert "canary" not in end.detail


@pytest.mark.parametrize("why", [MISSING, "canary"])
def test_podman_does_not_name_it_when_the_init_could_not_execute_it(why: str) -> None:
    complaint = f"ERROR (catatonit:2): failed to exec pid1: {why}"
    end = container_end_of(0, watch(complaint, exit_code=1), False, [NAME])
    assert end.outcome == "exited"
    assert end.detail.startswith("the command cannot be run: ")
    assert "canary" not in end.detail


def test_podman_does_not_name_it_when_nothing_started() -> None:
    complaint = f'Error: crun: executable file `{NAME}` not found in $PATH, "canary-word": no'
    end = container_end_of(127 << 8, watch(complaint), False, [NAME, "canary-word"])
    assert end.outcome == "start_failed"
    assert "crun: executable file `...` not found" in end.detail
    assert "canary" not in end.detail

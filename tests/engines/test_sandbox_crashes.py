"""Whatever is killed, whenever: an attempt starts at most once, ends exactly once, and leaves nothing."""

import errno
import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kumoi.engines.base import EngineUnavailable, LogChunk, Phase, StartRefused, Stream
from kumoi.engines.sandbox import channel, local, records, recovery, wrapper
from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.time import US_PER_S

Sandbox = Any


def layout_of(sandbox: Sandbox) -> records.Layout:
    return records.Layout(str(sandbox.data_dir / "tasks"))


def supervisor_of(sandbox: Sandbox, ref: str) -> int:
    """The supervisor's process, once it has written its name."""
    found: list[int] = []

    def named() -> bool:
        record = records.record_read(f"{layout_of(sandbox).live}/{ref}")
        if record is not None and record.start is not None:
            found.append(int(str(record.start["pid"])))
        return bool(found)

    sandbox.wait(named, f"the supervisor of {ref}")
    return found[-1]


def pid_of(sandbox: Sandbox, ref: str) -> int:
    """The process that supervised an attempt that has ended."""
    record = records.record_read(f"{layout_of(sandbox).ended}/{ref}")
    assert record is not None
    assert record.start is not None
    return int(str(record.start["pid"]))


def lock_is_free(path: Path) -> bool:
    """Whether nobody holds the lock of a record."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def await_idle(sandbox: Sandbox, ref: str) -> None:
    """Wait until the supervisor of an ended attempt sleeps, waiting for another one, or is gone."""
    stat = Path(f"/proc/{pid_of(sandbox, ref)}/stat")

    def idle() -> bool:
        if not lock_is_free(Path(layout_of(sandbox).ended, ref)):
            return False
        try:
            return stat.read_text().rpartition(")")[2].split()[0] == "S"
        except (FileNotFoundError, ProcessLookupError):
            return True

    sandbox.wait(idle, f"the supervisor of {ref} to be idle")


def processes_of(sandbox: Sandbox, *refs: str) -> list[Path]:
    """The processes of sandboxes that bear one of the names."""
    names = [f"kumoi-sandbox:{ref}\0".encode() for ref in refs]
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if any(command.startswith(name) for name in names):
                found.append(process)
    return found


def starts(sandbox: Sandbox) -> list[str]:
    """The lines that attempts appended to the file `ran` in their project."""
    return sorted((sandbox.data_dir / "files/org_one/projects/prj_one/ran").read_text().split())


def test_nothing_of_an_attempt_is_left_after_its_end(sandbox: Sandbox) -> None:
    spec = sandbox.spec("(trap '' TERM HUP; setsid sleep 300 & sleep 300 &) ; echo started")
    sandbox.engine.ensure([spec])
    record = sandbox.settle(spec.ref)[0].exit
    assert (record.outcome, record.exit_code) == (AttemptOutcome.EXITED, 0)
    assert not processes_of(sandbox, spec.ref)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/kumoi/{sandbox.incarnation}/{spec.ref}"))


def test_an_attempt_whose_processes_do_not_die_is_not_hidden(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = sandbox.spec("echo ready; sleep 300")
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    with monkeypatch.context() as patch:
        patch.setattr(Hierarchy, "remove", lambda *_, **__: False)
        patch.setattr(recovery, "_kill_by_name", lambda _: False)
        os.kill(supervisor_of(sandbox, spec.ref), signal.SIGKILL)
        live = Path(layout_of(sandbox).live, spec.ref)
        sandbox.wait(lambda: lock_is_free(live), "the supervisor to be gone")
        for _ in range(2):
            (item,) = sandbox.engine.observe(None, 10).items
            assert (item.phase, item.started_us) == (Phase.RUNNING, item.started_us or 0)
    (item,) = sandbox.engine.observe(None, 10).items
    assert item.exit.outcome is AttemptOutcome.HOST_LOST
    assert not processes_of(sandbox, spec.ref)


def test_what_is_left_of_an_attempt_that_ended_is_removed(sandbox: Sandbox) -> None:
    if sandbox.engine._hierarchy is None:
        pytest.skip("there are no control groups")
    hierarchy = sandbox.engine._hierarchy
    Path(layout_of(sandbox).done, "att_left").touch()
    for group in (*hierarchy.groups("att_left"), *hierarchy.groups("att_unknown")):
        Path(group).mkdir()
    with subprocess.Popen(["sleep", "300"]) as left:
        try:
            for group in hierarchy.groups("att_left"):
                Path(group, "cgroup.procs").write_text(str(left.pid))
            assert sandbox.engine.observe(None, 10).items == ()
            assert left.wait(10) == -signal.SIGKILL
        finally:
            left.kill()
    sandbox.open().observe(None, 10)
    assert hierarchy.attempts() == ["att_unknown"]


def test_attempts_survive_the_fork_server(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo ready; read -r line < /project/go; exit 7")
    (sandbox.data_dir / "files/org_one/projects/prj_one").mkdir()
    os.mkfifo(sandbox.data_dir / "files/org_one/projects/prj_one/go", 0o644)
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    first = sandbox.engine._channel.pid
    os.kill(first, signal.SIGKILL)
    other = sandbox.spec("exit 4")
    assert sandbox.engine.ensure([spec, other]) == {spec.ref: None, other.ref: None}
    assert sandbox.engine._channel.pid != first
    assert sandbox.settle(other.ref)[0].exit.exit_code == 4
    (sandbox.data_dir / "files/org_one/projects/prj_one/go").write_text("\n")
    assert sandbox.settle(spec.ref)[0].exit.exit_code == 7


def test_a_fork_server_that_does_not_answer_is_replaced(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.engine.warm()
    first, second = sandbox.spec("echo 1 >> ran"), sandbox.spec("echo 2 >> ran")
    pid = sandbox.engine._channel.pid
    with monkeypatch.context() as patch:
        patch.setattr(channel, "ANSWER_TIMEOUT_S", 0.1)
        patch.setattr(channel, "_STOP_TIMEOUT_S", 0.1)
        os.kill(pid, signal.SIGSTOP)
        answer = sandbox.engine.ensure([first])[first.ref]
    assert isinstance(answer, EngineUnavailable)
    assert "answer" in str(answer)
    assert sandbox.engine.ensure([second]) == {second.ref: None}
    assert sandbox.engine._channel.pid != pid
    assert sandbox.engine.ensure([first]) == {first.ref: None}
    sandbox.settle(first.ref, second.ref)
    assert starts(sandbox) == ["1", "2"]


def test_a_fork_server_killed_again_and_again_loses_and_repeats_nothing(sandbox: Sandbox) -> None:
    seed = 20_261_123
    chance = random.Random(seed)
    specs = [sandbox.spec(f"echo {number} >> ran", ref=f"att_{number}") for number in range(40)]
    over = threading.Event()

    def kill() -> None:
        while not over.wait(chance.uniform(0.005, 0.03)):
            pid = sandbox.engine._channel.pid
            if pid is not None:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    killer = threading.Thread(target=kill)
    killer.start()
    waiting = {spec.ref: spec for spec in specs}
    for _ in range(10):
        answers = sandbox.engine.ensure(list(waiting.values()))
        assert {type(answer) for answer in answers.values()} <= {type(None), EngineUnavailable}
    over.set()
    killer.join()
    sandbox.wait(lambda: not any(sandbox.engine.ensure(specs).values()), "every start")
    records_ = [item.exit for item in sandbox.settle(*waiting)]
    assert {record.outcome for record in records_} == {AttemptOutcome.EXITED}
    assert starts(sandbox) == sorted(str(number) for number in range(40))


def test_an_attempt_whose_supervisor_was_killed_is_lost_and_gone(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo ready; sleep 300")
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    os.kill(supervisor_of(sandbox, spec.ref), signal.SIGKILL)
    sandbox.wait(
        lambda: sandbox.engine.observe(None, 10).items[0].phase is Phase.ENDED, "the loss to be seen"
    )
    record = sandbox.settle(spec.ref)[0].exit
    assert (record.outcome, record.detail) == (AttemptOutcome.HOST_LOST, "its supervisor was killed")
    assert record.started_us < record.ended_us
    assert not processes_of(sandbox, spec.ref)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/kumoi/{sandbox.incarnation}/{spec.ref}"))
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    assert sandbox.settle(spec.ref)[0].exit == record


def test_an_attempt_whose_sandbox_was_killed_is_lost_and_not_said_to_have_never_started(
    sandbox: Sandbox,
) -> None:
    spec = sandbox.spec("echo x >> ran; echo ready; sleep 300")
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    supervisor = supervisor_of(sandbox, spec.ref)
    (outer,) = [
        int(process.name)
        for process in processes_of(sandbox, spec.ref)
        if (process / "stat").read_text().rpartition(")")[2].split()[1] == str(supervisor)
    ]
    os.kill(outer, signal.SIGKILL)
    record = sandbox.settle(spec.ref)[0].exit
    assert record.outcome is AttemptOutcome.HOST_LOST
    assert record.detail == "the sandbox was killed from outside, by signal 9"
    assert record.started_us is not None
    assert record.cpu_us > 0
    assert not processes_of(sandbox, spec.ref)
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    assert starts(sandbox) == ["x"]


def test_supervisors_killed_at_random_moments_end_their_attempts_once(sandbox: Sandbox) -> None:
    chance = random.Random(7)
    specs = [sandbox.spec(f"echo {number} >> ran; sleep 0.1", ref=f"att_{number}") for number in range(12)]
    for spec in specs:
        sandbox.engine.ensure([spec])
        pid = supervisor_of(sandbox, spec.ref)
        threading.Event().wait(chance.uniform(0.0, 0.02))
        os.kill(pid, signal.SIGKILL)
        sandbox.wait(lambda: all(item.exit for item in sandbox.engine.observe(None, 100).items), "the loss")
        assert not processes_of(sandbox, spec.ref)
        assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    ends = sandbox.settle(*(spec.ref for spec in specs))
    assert {item.exit.outcome for item in ends} <= {AttemptOutcome.HOST_LOST, AttemptOutcome.EXITED}
    ran = sandbox.data_dir / "files/org_one/projects/prj_one/ran"
    lines = ran.read_text().split() if ran.exists() else []
    assert len(lines) == len(set(lines)), "an attempt ran twice"


def test_an_engine_that_comes_back_sees_ends_that_came_meanwhile(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo said; exit 9")
    sandbox.engine.ensure([spec])
    sandbox.engine.close()
    sandbox.wait(lambda: Path(layout_of(sandbox).ended, spec.ref).exists(), "the record")
    sandbox.engine = sandbox.open()
    assert sandbox.engine.ended(10)[0].exit.exit_code == 9
    assert sandbox.engine.log_read(spec.ref, Stream.STDOUT, 0, 10) == LogChunk(b"said\n", 5, ended=True)


def test_two_engines_that_race_start_each_attempt_once(sandbox: Sandbox) -> None:
    engines = [sandbox.engine, sandbox.open()]
    specs = [sandbox.spec(f"echo {number} >> ran", ref=f"att_{number}") for number in range(30)]
    barrier = threading.Barrier(2)

    def ensure(engine: SandboxEngine, order: list[Any]) -> None:
        barrier.wait()
        for turn in range(0, len(order), 10):
            engine.ensure(order[turn : turn + 10])

    threads = [
        threading.Thread(target=ensure, args=(engine, order))
        for engine, order in zip(engines, (specs, specs[::-1]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sandbox.wait(lambda: not any(sandbox.engine.ensure(specs).values()), "every start")
    ends = sandbox.settle(*(spec.ref for spec in specs))
    assert {item.exit.outcome for item in ends} == {AttemptOutcome.EXITED}
    assert starts(sandbox) == sorted(str(number) for number in range(30))


def test_a_stop_that_races_with_the_start_always_ends_the_attempt(sandbox: Sandbox) -> None:
    specs = [sandbox.spec("sleep 300", ref=f"att_{number}") for number in range(16)]
    stopper = threading.Thread(
        target=lambda: [
            sandbox.engine.stop([spec.ref], random.Random(1).choice([0.0, 10.0])) for spec in specs
        ]
    )
    stopper.start()
    for spec in specs:
        sandbox.engine.ensure([spec])
    stopper.join()
    ends = sandbox.settle(*(spec.ref for spec in specs))
    assert {item.exit.outcome for item in ends} == {AttemptOutcome.CANCELLED}
    assert not processes_of(sandbox, *(spec.ref for spec in specs))


def test_a_stop_is_written_once_and_one_that_fails_keeps_no_other(sandbox: Sandbox) -> None:
    blocked, spec = sandbox.spec("exit 0"), sandbox.spec("trap '' TERM; echo ready; sleep 300")
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    place = Path(layout_of(sandbox).attempt(blocked.ref))
    place.write_text("not a directory")
    stop = Path(layout_of(sandbox).attempt(spec.ref), "stop")
    with pytest.raises(EngineUnavailable, match=blocked.ref):
        sandbox.engine.stop([blocked.ref, spec.ref], 3_600.0)
    written = stop.stat()
    sandbox.engine.stop([spec.ref], 3_600.0)
    assert (stop.stat().st_ino, stop.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    sandbox.engine.stop([spec.ref], 0.0)
    assert sandbox.settle(spec.ref)[0].exit.outcome is AttemptOutcome.CANCELLED
    place.unlink()


def test_a_start_that_crashed_before_anything_was_written_goes_on(sandbox: Sandbox) -> None:
    spec = sandbox.spec("exit 6")
    layout = layout_of(sandbox)
    Path(layout.live, spec.ref).touch(mode=0o600)
    Path(layout.attempt(spec.ref)).mkdir()
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    assert sandbox.settle(spec.ref)[0].exit.exit_code == 6


def test_an_attempt_that_had_begun_before_a_boot_is_lost(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo never")
    layout = layout_of(sandbox)
    start = {"version": 1, "pid": 1, "boot_id": "of-before", "started_us": 1_000, "start_before_us": 2_000}
    Path(layout.live, spec.ref).write_text("\n" + json.dumps(start) + "\n")
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    (item,) = sandbox.engine.observe(None, 10).items
    assert (item.exit.outcome, item.exit.detail) == (AttemptOutcome.HOST_LOST, "the host was restarted")
    assert item.started_us == 1_000
    assert item.exit.ended_us <= sandbox.now_us()


def test_the_first_line_and_its_name_are_durable_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = records.Layout(str(tmp_path))
    layout.make()
    Path(layout.attempt("att_one")).mkdir()
    Path(layout.attempt("att_one"), "stop").touch()
    lock = records.lock_take(layout, "att_one", create=True)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    setting: Any = SimpleNamespace(layout=layout, boot_id="this", nudge=str(tmp_path / "nudge"))
    task: Any = {"ref": "att_one", "organization_id": "org_one", "start_before_us": 1}
    wrapper.run(setting, task, lock, 0)
    os.close(lock)
    record = f"{layout.live}/att_one"
    assert synced == [record, layout.live, record]


def test_a_line_of_which_only_a_part_could_be_written_is_an_error(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="only a part") as caught:
            records.file_create(str(tmp_path / "line"), b"x" * 20, os.O_APPEND, durable=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("cut", ['\n{"version": 1, "outcome": "exi', "\n{}\n", "\n\0\0\0\0"])
def test_a_last_line_cut_by_a_power_failure_is_not_believed(sandbox: Sandbox, cut: str) -> None:
    layout = layout_of(sandbox)
    start = {"version": 1, "pid": 1, "boot_id": "of-before", "started_us": 1_000, "start_before_us": 2_000}
    Path(layout.live, "att_cut").write_text("\n" + json.dumps(start) + "\n" + cut)
    (item,) = sandbox.engine.observe(None, 10).items
    assert item.exit.outcome is AttemptOutcome.HOST_LOST


def test_an_end_that_was_written_but_not_moved_is_believed(sandbox: Sandbox) -> None:
    layout = layout_of(sandbox)
    start = {"version": 1, "pid": 1, "boot_id": "of-before", "started_us": 1_000, "start_before_us": 2_000}
    end = records.exit_line("exited", started_us=1_000, ended_us=3_000, exit_code=3)
    Path(layout.live, "att_end").write_text(f"\n{json.dumps(start)}\n\n{json.dumps(end)}\n")
    (item,) = sandbox.engine.observe(None, 10).items
    assert (item.exit.outcome, item.exit.exit_code, item.exit.ended_us) == (AttemptOutcome.EXITED, 3, 3_000)
    assert [ended.ref for ended in sandbox.engine.ended(10)] == ["att_end"]


def test_a_late_start_is_refused_after_everything_was_forgotten(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo x >> ran", start_before_us=sandbox.now_us() + 3 * US_PER_S)
    sandbox.engine.ensure([spec])
    sandbox.settle(spec.ref)
    sandbox.engine.forget([spec.ref])
    sandbox.engine.purge([spec.ref])
    assert not (sandbox.data_dir / "files/org_one/logs" / spec.ref).exists()
    for name in (spec.ref, f".done/{spec.ref}", f".ended/{spec.ref}", f".live/{spec.ref}"):
        assert not (sandbox.data_dir / "tasks" / name).exists()
    assert isinstance(sandbox.engine.ensure([spec])[spec.ref], StartRefused)
    sandbox.wait(lambda: sandbox.now_us() > spec.start_before_us, "the window to close")
    again = sandbox.open()
    again.purge([])
    assert not list((sandbox.data_dir / "tasks/.purged").iterdir())
    assert isinstance(again.ensure([spec])[spec.ref], StartRefused)
    assert starts(sandbox) == ["x"]


def test_a_machine_that_goes_down_ends_attempts_as_lost(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo ready; sleep 300")
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    os.kill(supervisor_of(sandbox, spec.ref), signal.SIGTERM)
    assert sandbox.settle(spec.ref)[0].exit.outcome is AttemptOutcome.HOST_LOST


def test_a_supervisor_is_used_again(sandbox: Sandbox) -> None:
    pids = []
    for number in range(3):
        spec = sandbox.spec(f"echo {number}; sleep 0.05")
        sandbox.engine.ensure([spec])
        pids.append(supervisor_of(sandbox, spec.ref))
        sandbox.settle(spec.ref)
        assert sandbox.text(spec.ref) == f"{number}\n"
    assert len(set(pids)) < 3


def test_the_last_attempt_of_a_supervisor_is_not_followed_by_a_lost_one(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SUPERVISOR_ATTEMPTS_MAX", 2)
    pids = []
    for number in range(10):
        spec = sandbox.spec(f"echo {number} >> ran")
        assert sandbox.engine.ensure([spec]) == {spec.ref: None}
        record = sandbox.settle(spec.ref)[0].exit
        assert (record.outcome, record.exit_code) == (AttemptOutcome.EXITED, 0)
        pids.append(pid_of(sandbox, spec.ref))
        await_idle(sandbox, spec.ref)
    assert 5 <= len(set(pids)) < 10
    assert starts(sandbox) == [str(number) for number in range(10)]


def test_an_attempt_whose_supervisor_died_with_the_request_in_its_hands_starts_once(sandbox: Sandbox) -> None:
    first, second = sandbox.spec("exit 0"), sandbox.spec("echo second >> ran")
    sandbox.engine.ensure([first])
    sandbox.settle(first.ref)
    pid = pid_of(sandbox, first.ref)
    await_idle(sandbox, first.ref)
    os.kill(pid, signal.SIGSTOP)
    assert sandbox.engine.ensure([second]) == {second.ref: None}
    live = Path(layout_of(sandbox).live, second.ref)
    assert live.read_bytes() == b"", "another supervisor than the stopped one has it"
    assert sandbox.engine.observe(None, 10).items[-1].phase is Phase.RUNNING
    os.kill(pid, signal.SIGKILL)
    sandbox.wait(lambda: lock_is_free(live), "the lock to be let go")
    assert sandbox.engine.ensure([second]) == {second.ref: None}
    sandbox.wait(lambda: sandbox.engine.ensure([second]) == {second.ref: None}, "its first line")
    assert sandbox.settle(second.ref)[0].exit.exit_code == 0
    assert starts(sandbox) == ["second"]


def test_a_supervisor_that_cannot_begin_says_so(sandbox: Sandbox) -> None:
    sandbox.engine.warm()
    groups = list(Path("/sys/fs/cgroup").glob(f"*/kumoi/{sandbox.incarnation}/_supervisors"))
    if not groups:
        pytest.skip("there are no control groups to take away")
    for group in groups:
        group.rmdir()
    spec = sandbox.spec("echo x >> ran")
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    record = sandbox.settle(spec.ref)[0].exit
    assert (record.outcome, record.started_us) == (AttemptOutcome.START_FAILED, None)
    assert "_supervisors" in record.detail
    assert not (sandbox.data_dir / "files/org_one/projects/prj_one/ran").exists()

"""What a task in the sandbox can see, reach and use up."""

import contextlib
import os
import resource
import textwrap
from pathlib import Path
from typing import Any

import pytest

from kumoi.engines.base import StartRefused, Stream
from kumoi.model.jobs import AttemptOutcome

Sandbox = Any
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives each project a user and a cgroup")
SECRET = b"correct horse battery staple"
SYSCALLS = textwrap.dedent(
    """
    import ctypes, errno, os, socket
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *numbers):
        ctypes.set_errno(0)
        libc.syscall(*numbers)
        print(name, errno.errorcode.get(ctypes.get_errno(), "done"))
    call("mount", 165, 0, 0, 0, 0, 0)
    call("unshare", 272, 0x10000000)
    call("setns", 308, 0, 0)
    call("clone", 56, 0x10000011, 0, 0, 0, 0)
    call("clone3", 435, 0, 0)
    call("ptrace", 101, 0, 0, 0, 0)
    call("keyctl", 250, 0, 0)
    call("add_key", 248, 0, 0, 0, 0, 0)
    call("bpf", 321, 0, 0, 0)
    call("perf_event_open", 298, 0, 0, 0, 0, 0)
    call("userfaultfd", 323, 0)
    call("io_uring_setup", 425, 1, 0)
    call("kexec_load", 246, 0, 0, 0, 0)
    call("init_module", 175, 0, 0, 0)
    call("open_by_handle_at", 304, 0, 0, 0)
    call("open_tree_attr", 467, 0, 0, 0, 0, 0)
    call("TIOCSTI", 16, 0, 0x5412, 0)
    call("TIOCSTI high bits", 16, 0, 0x100005412, 0)
    call("AF_VSOCK", 41, 40, 1, 0)
    call("AF_ALG", 41, 38, 5, 0)
    socket.socket(socket.AF_INET).close()
    """
)


def run(sandbox: Sandbox, script: str, **changes: Any) -> str:
    """What the shell script printed; it must end well."""
    spec = sandbox.spec(script, **changes)
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    record = sandbox.settle(spec.ref)[0].exit
    text: str = sandbox.text(spec.ref)
    assert record.exit_code == 0, (record, text, sandbox.text(spec.ref, Stream.STDERR))
    return text


def test_the_system_is_read_only(sandbox: Sandbox) -> None:
    targets = "/usr/x /etc/x /x /bin/x /run/x /lib/x /proc/sys/kernel/hostname"
    text = run(sandbox, f"for f in {targets}; do (: > $f) 2>/dev/null && echo WROTE $f; done; echo over")
    assert text == "over\n"


def test_only_the_own_project_is_there(sandbox: Sandbox) -> None:
    run(sandbox, "echo mine > mine", project_id="prj_one", project_number=1)
    assert run(sandbox, "pwd; ls /project; cat mine", project_id="prj_one", project_number=1) == (
        "/project\nmine\nmine\n"
    )
    assert run(sandbox, "ls -A /project", project_id="prj_two", project_number=2) == ""
    assert (sandbox.data_dir / "files/org_one/projects/prj_one/mine").read_text() == "mine\n"
    seen = run(
        sandbox, f"ls -d {sandbox.data_dir} {sandbox.root} /run/kumoi-sandbox /home /root /srv /var; ls /; :"
    )
    assert seen.split() == ["bin", "dev", "etc", "lib", "lib64", "proc", "project", "sbin", "tmp", "usr"]


def test_tmp_is_private_and_gone_afterwards(sandbox: Sandbox) -> None:
    assert run(sandbox, "echo x > /tmp/left; ls -A /tmp") == "left\n"
    assert run(sandbox, "ls -A /tmp; touch /dev/shm/ok") == ""


def test_the_environment_is_clear(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUMOI_TOKEN", "of the operator")
    text = run(sandbox, "env", environment={"KUMOI_TASK_INDEX": "7", "LANG": "ja_JP.UTF-8"})
    assert dict(line.split("=", 1) for line in text.splitlines()) == {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        "HOME": "/tmp",
        "LANG": "ja_JP.UTF-8",
        "USER": "task",
        "LOGNAME": "task",
        "PWD": "/project",
        "KUMOI_TASK_INDEX": "7",
    }


def test_there_is_no_network(sandbox: Sandbox) -> None:
    assert run(sandbox, "cat /proc/net/dev | tail -n +3 | cut -d: -f1").split() == ["lo"]


def test_no_two_attempts_share_a_network(sandbox: Sandbox) -> None:
    show = "readlink /proc/self/ns/net"
    waiting = [sandbox.spec(f"{show}; sleep 300", project_id="prj_one") for _ in range(2)]
    sandbox.engine.ensure(waiting)
    for spec in waiting:
        sandbox.await_output(spec.ref)
    seen = [sandbox.text(spec.ref) for spec in waiting]
    seen += [run(sandbox, show, project_id="prj_two"), f"{Path('/proc/self/ns/net').readlink()}\n"]
    assert len(set(seen)) == 4
    listen = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    )
    assert run(sandbox, f'python3 -c "{listen}; print(1)"') == "1\n", "the loopback is down"
    other = run(
        sandbox,
        "cat /proc/net/tcp | tail -n +2; grep lo: /proc/net/dev | cut -d: -f2",
        project_id="prj_three",
    )
    assert set(other.split()) == {"0"}, "another project's connections can be seen"


def test_the_hosts_network_is_refused(sandbox: Sandbox) -> None:
    spec = sandbox.spec("true", network=True)
    answer = sandbox.engine.ensure([spec])[spec.ref]
    assert isinstance(answer, StartRefused)
    assert "it would reach the plane" in str(answer)
    assert not sandbox.engine.observe(None, 10).items


def test_the_hosts_network_is_there_when_the_operator_allows_it(sandbox: Sandbox) -> None:
    sandbox.engine = sandbox.open(network_host=True)
    outside = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    inside = run(sandbox, "cat /proc/net/dev | tail -n +3 | cut -d: -f1", network=True)
    assert set(inside.split()) == outside


def test_other_processes_are_not_there(sandbox: Sandbox) -> None:
    pids = run(sandbox, "ls /proc | grep -E '^[0-9]+$'").split()
    assert len(pids) <= 4
    assert run(sandbox, "id -u; id -un; hostname").split() == ["1000", "task", "task"]


def test_it_has_no_privilege_and_no_stray_descriptor(sandbox: Sandbox) -> None:
    status = run(sandbox, "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    values = dict(line.split(":\t") for line in status.splitlines())
    assert {values[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")
    assert run(sandbox, "ls /proc/self/fd").split() == ["0", "1", "2", "3"], "the last is that of ls itself"
    assert run(sandbox, "echo works > /dev/stdout; echo and > /dev/stderr; ulimit -c") == "works\n0\n"


def test_the_filter_of_system_calls(sandbox: Sandbox) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of the calls are those of x86_64")
    script = f"cat > /tmp/calls.py <<'END'\n{SYSCALLS}\nEND\npython3 /tmp/calls.py"
    answers = dict(line.rsplit(" ", 1) for line in run(sandbox, script).splitlines())
    not_there = {"clone3", "io_uring_setup"}
    for name, answer in answers.items():
        wanted = "EAFNOSUPPORT" if name.startswith("AF_") else "ENOSYS" if name in not_there else "EPERM"
        assert (name, answer) == (name, wanted)
    assert len(answers) == 20


def test_secrets_are_files_in_memory_and_nowhere_else(sandbox: Sandbox) -> None:
    spec = sandbox.spec("stat -c %a /run/secrets/*; cat /run/secrets/DB; sleep 300", secrets={"DB": SECRET})
    assert repr(SECRET) not in repr(spec)
    sandbox.engine.ensure([spec])
    sandbox.wait(lambda: SECRET.decode() in sandbox.text(spec.ref), "the secret")
    assert sandbox.text(spec.ref) == f"400\n{SECRET.decode()}"
    for process in Path("/proc").iterdir():
        for name in ("cmdline", "environ") if process.name.isdigit() else ():
            try:
                assert SECRET not in (process / name).read_bytes()
            except OSError:
                continue
    (sandbox.data_dir / "files/org_one/logs" / spec.ref / "stdout").unlink()
    for path in sandbox.data_dir.rglob("*"):
        assert not path.is_file() or SECRET not in path.read_bytes(), path
    assert run(sandbox, "ls /run/secrets 2>/dev/null; :") == ""


def test_no_core_holds_a_secret(sandbox: Sandbox) -> None:
    spec = sandbox.spec("echo ready; sleep 300", secrets={"DB": SECRET})
    sandbox.engine.ensure([spec])
    sandbox.await_output(spec.ref)
    forkserver = sandbox.engine._channel.pid
    children = Path(f"/proc/{forkserver}/task/{forkserver}/children").read_text().split()
    assert children
    for pid in (forkserver, *children):
        assert resource.prlimit(int(pid), resource.RLIMIT_CORE) == (0, 0)


def test_environment_and_command_are_not_in_an_argument_list(sandbox: Sandbox) -> None:
    spec = sandbox.spec("sleep 300", environment={"LD_PRELOAD": "/project/evil.so", "MARK": "of the tenant"})
    sandbox.engine.ensure([spec])
    bubblewrap = []

    def found() -> bool:
        for process in Path("/proc").iterdir():
            try:
                arguments = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
                if arguments.startswith(f"kumoi-sandbox:{spec.ref}\0".encode()):
                    bubblewrap.append(((process / "environ").read_bytes(), arguments))
            except OSError:
                continue
        return bool(bubblewrap)

    sandbox.wait(found, "bubblewrap")
    for environment, arguments in bubblewrap:
        assert b"evil" not in environment + arguments
        assert b"of the tenant" not in environment + arguments


@as_root
def test_each_project_has_a_user_of_its_own(sandbox: Sandbox) -> None:
    run(sandbox, "touch here", project_id="prj_one", project_number=1)
    run(sandbox, "touch here", project_id="prj_two", project_number=2)
    files = sandbox.data_dir / "files/org_one/projects"
    owners = [(files / project / "here").stat().st_uid for project in ("prj_one", "prj_two")]
    assert owners == [sandbox.engine.project_uid(1), sandbox.engine.project_uid(2)]
    assert owners[0] != owners[1]
    assert (files / "prj_one").stat().st_mode & 0o777 == 0o700
    assert sandbox.data_dir.stat().st_mode & 0o077 == 0
    beyond = sandbox.spec("true", project_number=2**31)
    assert isinstance(sandbox.engine.ensure([beyond])[beyond.ref], StartRefused)


@as_root
def test_a_file_that_only_root_may_read_stays_so(sandbox: Sandbox) -> None:
    project = sandbox.data_dir / "files/org_one/projects/prj_one"
    project.mkdir()
    (project / "of-root").write_text("x")
    (project / "of-root").chmod(0o600)
    assert run(sandbox, "cat of-root 2>/dev/null || echo refused") == "refused\n"


def test_links_of_a_tenant_lead_nowhere(sandbox: Sandbox) -> None:
    outside = sandbox.root / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    before = outside.stat()
    run(
        sandbox,
        f"ln -s {outside} out; ln -s {outside}/file stdout; ln -s / root; mkdir -p a/b; ln -s .. a/b/up",
    )
    text = run(sandbox, "cat out/file 2>/dev/null || echo nothing; ls root/project")
    assert text.split() == ["nothing", "a", "out", "root", "stdout"]
    assert (outside / "file").read_text() == "untouched"
    assert (outside.stat().st_uid, outside.stat().st_mode) == (before.st_uid, before.st_mode)


def test_a_project_directory_that_is_a_link_is_not_followed(sandbox: Sandbox) -> None:
    outside = sandbox.root / "outside"
    outside.mkdir()
    (sandbox.data_dir / "files/org_one/projects/prj_one").symlink_to(outside)
    spec = sandbox.spec("touch here")
    sandbox.engine.ensure([spec])
    assert sandbox.settle(spec.ref)[0].exit.outcome is AttemptOutcome.START_FAILED
    assert not list(outside.iterdir())


@as_root
def test_memory_is_limited_for_all_processes_together(sandbox: Sandbox) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do head -c 8M /dev/zero | tail & done; wait"
    spec = sandbox.spec(script, limits={"memory_bytes": 32 << 20})
    sandbox.engine.ensure([spec])
    record = sandbox.settle(spec.ref)[0].exit
    assert record.outcome is AttemptOutcome.MEMORY
    assert 24 << 20 <= record.memory_peak_bytes <= 32 << 20


@as_root
def test_files_in_tmp_count_as_memory(sandbox: Sandbox) -> None:
    spec = sandbox.spec("head -c 64M /dev/zero > /dev/shm/big", limits={"memory_bytes": 32 << 20})
    sandbox.engine.ensure([spec])
    assert sandbox.settle(spec.ref)[0].exit.outcome is AttemptOutcome.MEMORY


@as_root
def test_a_fork_bomb_stays_small(sandbox: Sandbox) -> None:
    script = "bomb() { bomb & bomb; }; (bomb) 2>/dev/null; :"
    spec = sandbox.spec(script, limits={"processes": 24, "wall_time_s": 2})
    sandbox.engine.ensure([spec])
    highest = [0]

    def ended() -> bool:
        for path in Path("/sys/fs/cgroup").glob(f"*/kumoi/{sandbox.incarnation}/{spec.ref}/pids.current"):
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                highest[0] = max(highest[0], int(path.read_text()))
        return bool(sandbox.engine.ended(1))

    sandbox.wait(ended, "the end of the bomb")
    assert highest[0] <= 24 + 3


def test_a_task_cannot_start_more_processes_than_it_may(sandbox: Sandbox) -> None:
    script = "for i in $(seq 40); do sleep 60 & done 2>/dev/null; echo survived"
    spec = sandbox.spec(script, limits={"processes": 10})
    sandbox.engine.ensure([spec])
    record = sandbox.settle(spec.ref)[0].exit
    assert record.exit_code != 0
    assert "survived" not in sandbox.text(spec.ref)


def test_the_size_of_a_file_is_limited(sandbox: Sandbox) -> None:
    text = run(
        sandbox, "head -c 3M /dev/zero > big 2>/dev/null; stat -c %s big", limits={"file_bytes": 2 << 20}
    )
    assert int(text) == 2 << 20


def test_the_log_is_cut_at_its_limit_and_the_task_goes_on(sandbox: Sandbox) -> None:
    script = "head -c 300000 /dev/zero; echo problem >&2; head -c 300000 /dev/zero; exit 5"
    spec = sandbox.spec(script, limits={"log_bytes": 100_000})
    sandbox.engine.ensure([spec])
    record = sandbox.settle(spec.ref)[0].exit
    assert (record.outcome, record.exit_code, record.detail) == (
        AttemptOutcome.EXITED,
        5,
        "log cut at its limit",
    )
    sizes = [len(sandbox.engine.log_read(spec.ref, stream, 0, 1 << 20).data) for stream in Stream]
    assert sum(sizes) == 100_000


def test_what_it_used_is_in_the_record(sandbox: Sandbox) -> None:
    script = (
        "head -c 8M /dev/urandom | tail -c 4M | sha256sum; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    )
    spec = sandbox.spec(script)
    sandbox.engine.ensure([spec])
    record = sandbox.settle(spec.ref)[0].exit
    assert 20_000 < record.cpu_us <= 2 * (record.ended_us - record.started_us)
    assert 4 << 20 <= record.memory_peak_bytes <= 64 << 20


@pytest.mark.parametrize(
    ("command", "code"), [("no-such-command", 127), ("/project/plain", 126), ("/project", 126)]
)
def test_a_command_that_cannot_be_run_is_the_users_error(sandbox: Sandbox, command: str, code: int) -> None:
    run(sandbox, "echo exit 0 > plain")
    spec = sandbox.spec("", command=(command,))
    sandbox.engine.ensure([spec])
    record = sandbox.settle(spec.ref)[0].exit
    assert (record.outcome, record.exit_code) == (AttemptOutcome.EXITED, code)
    assert record.started_us is not None
    told = record.detail.startswith("the command cannot be run: ")
    assert told or "no writable cgroups" in sandbox.engine.hosts()[0].detail
    assert command not in record.detail, "what a tenant runs is not told beside its sealed specification"


@pytest.mark.parametrize(
    "change",
    [
        {"command": ()},
        {"command": ("a\0b",)},
        {"environment": {"A=B": "x"}},
        {"environment": {"A": "x\0"}},
        {"secrets": {"../evil": b"x"}},
        {"organization_id": ".."},
        {"project_id": "a/b"},
        {"project_number": -1},
        {"device_paths": ("/dev/../etc/shadow",)},
        {"limits": {"processes": 0}},
    ],
    ids=str,
)
def test_a_request_that_makes_no_sense_is_refused(sandbox: Sandbox, change: dict[str, Any]) -> None:
    if "project_number" in change and os.getuid() != 0:
        pytest.skip("projects have no users of their own here")
    spec = sandbox.spec("true", **change)
    assert isinstance(sandbox.engine.ensure([spec])[spec.ref], StartRefused)
    assert not sandbox.engine.observe(None, 10).items

"""What a hostile task tries in the sandbox, as real programs: each is refused or contained.

docs/security/sandbox.md lists every attack with what stops it and the name of its test here or in
test_sandbox_isolation.py. A task of another organization runs beside each attack, and must go on.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kumoi
from kumoi.engines.base import Phase, Stream
from kumoi.model.jobs import AttemptOutcome

Sandbox = Any
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives each project a user and a cgroup")
USER = 54_321
PATHS = [str(Path(module.__file__ or "").parents[1]) for module in (kumoi, msgspec)]

PRELUDE = """
import ctypes, errno, os, resource, signal, socket, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)

def tried(what, attempt):
    try:
        attempt()
    except (OSError, ValueError) as error:
        print("refused:", what, flush=True)
    else:
        print("DONE:", what, flush=True)

def call(*numbers):
    ctypes.set_errno(0)
    if libc.syscall(*numbers) == -1:
        raise OSError(ctypes.get_errno(), "refused")

def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    if done.returncode:
        raise OSError(done.returncode, "refused")

def write(path, text):
    with open(path, "w") as file:
        file.write(text)

def read(path):
    with open(path, "rb") as file:
        file.read(16)
"""

# Name -> program. Every line that it tries must be refused; the numbers of system calls are those of x86_64.
REFUSED = {
    "mount": """
tried("mount a file system", lambda: run("mount", "-t", "tmpfs", "none", "/tmp"))
tried("bind a directory", lambda: call(165, b"/usr", b"/tmp", 0, 4096, 0))
tried("unmount", lambda: call(166, b"/project", 2))
tried("remount for writing", lambda: run("mount", "-o", "remount,rw", "/"))
tried("open a tree", lambda: call(428, -100, b"/", 1))
tried("pivot the root", lambda: call(155, b"/tmp", b"/tmp"))
tried("change the root", lambda: os.chroot("/tmp"))
tried("mount control groups", lambda: run("mount", "-t", "cgroup", "none", "/tmp"))
""",
    "nested namespaces": """
tried("a namespace of users by command", lambda: run("unshare", "--user", "--map-root-user", "true"))
tried("a sandbox in the sandbox", lambda: run("bwrap", "--ro-bind", "/", "/", "true"))
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x04000000, 0x08000000, 0x02000000):
    tried(f"unshare {flag:x}", lambda: call(272, flag))
    tried(f"clone {flag:x}", lambda: call(56, flag | 17, 0, 0, 0, 0))
tried("clone3", lambda: call(435, 0, 0))
tried("enter one by its file", lambda: call(308, os.open("/proc/1/ns/net", os.O_RDONLY), 0))
""",
    "ptrace": """
tried("attach to the first process", lambda: call(101, 16, 1, 0, 0))
tried("be traced", lambda: call(101, 0, 0, 0, 0))
buffer = ctypes.create_string_buffer(16)
tried("read another's memory", lambda: call(310, 1, buffer, 1, buffer, 1, 0))
tried("write another's memory", lambda: call(311, 1, buffer, 1, buffer, 1, 0))
tried("take another's descriptor", lambda: call(438, 3, 0, 0))
""",
    "the kernel's files": """
for path in ("kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/randomize_va_space",
             "vm/drop_caches", "vm/overcommit_memory", "fs/binfmt_misc/register", "net/ipv4/ip_forward"):
    tried(path, lambda: write("/proc/sys/" + path, "1"))
for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/dev/port",
             "/sys/fs/cgroup/memory/tasks", "/sys/kernel/uevent_helper", "/sys/kernel/debug"):
    tried("read " + path, lambda: read(path))
    tried("write " + path, lambda: write(path, "1"))
with open("/proc/kallsyms") as symbols:
    addresses = {line.split()[0].strip("0") for line, _ in zip(symbols, range(1000))}
tried("see addresses of the kernel", lambda: read("/none") if addresses == {""} else None)
""",
    "device files": """
for place in ("/tmp", "/project", "/dev/shm"):
    tried(f"a disk in {place}", lambda: os.mknod(place + "/disk", 0o666 | stat.S_IFBLK, os.makedev(254, 0)))
    tried(f"memory in {place}", lambda: os.mknod(place + "/mem", 0o666 | stat.S_IFCHR, os.makedev(1, 1)))
kinds = [os.lstat("/dev/" + name).st_mode for name in os.listdir("/dev")]
tried("find a disk", lambda: read("/none") if not any(map(stat.S_ISBLK, kinds)) else None)
tried("find a terminal", lambda: read("/dev/tty"))
""",
    "setuid": """
tried("become root", lambda: call(105, 0))
tried("become root's group", lambda: call(106, 0))
tried("set groups", lambda: os.setgroups([0]))
for command in (("su", "-c", "true"), ("newgrp", "root"), ("mount", "/tmp"), ("chsh", "-s", "/bin/sh")):
    as_root = " ".join(command) + " && id -u | grep -x 0"
    tried(" ".join(command), lambda: run("setsid", "-w", "sh", "-c", as_root))
tried("own a file as root", lambda: os.chown("/project", 0, 0))
""",
    "clock": """
tried("date", lambda: run("date", "-s", "2000-01-01"))
tried("clock_settime", lambda: call(227, 0, ctypes.create_string_buffer(16)))
tried("settimeofday", lambda: call(164, ctypes.create_string_buffer(16), 0))
tried("adjtimex", lambda: call(159, ctypes.create_string_buffer(b"\\1" + bytes(300))))
tried("clock_adjtime", lambda: call(305, 0, ctypes.create_string_buffer(b"\\1" + bytes(300))))
""",
    "the kernel itself": """
for name, number in (("kexec_load", 246), ("kexec_file_load", 320), ("init_module", 175),
                     ("finit_module", 313), ("delete_module", 176), ("reboot", 169), ("swapon", 167),
                     ("acct", 163), ("bpf", 321), ("perf_event_open", 298), ("userfaultfd", 323),
                     ("io_uring_setup", 425), ("iopl", 172), ("ioperm", 173), ("quotactl", 179),
                     ("fanotify_init", 300), ("open_by_handle_at", 304), ("syslog", 103)):
    tried(name, lambda: call(number, 3, 0, 0, 0, 0))
tried("modprobe", lambda: run("sh", "-c", "/sbin/modprobe dummy"))
""",
    "keyring": """
tried("add a key", lambda: call(248, b"user", b"a", b"b", 1, -3))
tried("ask for a key", lambda: call(249, b"user", b"a", 0, -3))
tried("join a keyring", lambda: call(250, 1, b"session"))
with open("/proc/keys") as keys:
    found = keys.read()
tried("see keys of others", lambda: read("/none") if not found else None)
""",
    "terminal": """
leader, follower = os.openpty()
os.setsid() if os.getsid(0) != os.getpid() and os.getpgid(0) != os.getpid() else None
for request in (0x5412, 0x541C, 0x100005412):
    tried(f"type {request:x}", lambda: call(16, follower, ctypes.c_ulong(request), b"x"))
""",
    "priority": """
tried("a higher one", lambda: os.nice(-5))
tried("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
tried("real time for the disk", lambda: call(251, 1, 0, 1 << 13))
tried("never killed for memory", lambda: write("/proc/self/oom_score_adj", "-1000"))
tried("killed for memory after the plane", lambda: write("/proc/self/oom_score_adj", "-1"))
for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
    tried(f"limit {limit}", lambda: resource.setrlimit(limit, (1 << 40, 1 << 40)))
""",
    "sockets": """
tried("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tried("packets", lambda: socket.socket(17, socket.SOCK_RAW, 3))
for family in (38, 40, 44, 21, 31, 39):
    tried(f"family {family}", lambda: socket.socket(family, socket.SOCK_STREAM, 0))
tried("a new interface", lambda: run("ip", "link", "add", "dummy0", "type", "dummy"))
tried("take the loopback down", lambda: run("ip", "link", "set", "lo", "down"))
tried("a low port", lambda: socket.create_server(("127.0.0.1", 80)).close())
""",
    "signals": """
outside = [pid for pid in range(2, 70000) if pid != os.getpid()]
def reach():
    for pid in outside:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            continue
        if int(open(f"/proc/{pid}/stat").read().split()[3]) > 2:
            return
    raise ProcessLookupError
tried("reach a process outside", reach)
""",
}


@pytest.fixture
def neighbour(sandbox: Sandbox) -> Iterator[None]:
    """A task of another organization; after the attack it still runs and answers."""
    script = "touch silent; echo up; while [ -e silent ]; do sleep 0.05; done; echo well"
    files = sandbox.volume("org_two") / "prj_two"
    spec = sandbox.spec(script, organization_id="org_two", project_id="prj_two", project_number=2)
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    sandbox.await_output(spec.ref)
    yield
    seen = {item.ref: item.phase for item in sandbox.engine.observe(None, 100).items}
    assert seen[spec.ref] is Phase.RUNNING
    (files / "silent").unlink()
    sandbox.wait(lambda: sandbox.text(spec.ref) == "up\nwell\n", "the neighbour's answer")


def attack(sandbox: Sandbox, program: str, **changes: Any) -> tuple[Any, str]:
    """Run a program of Python as a task; its end, and what it said."""
    script = f"cat > /tmp/attack.py <<'END'\n{PRELUDE}{program}\nEND\nexec python3 /tmp/attack.py"
    spec = sandbox.spec(script, **changes)
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    record = sandbox.settle(spec.ref)[0].exit
    return record, sandbox.text(spec.ref) + sandbox.text(spec.ref, Stream.STDERR)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are those of x86_64")
@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(sandbox: Sandbox, name: str) -> None:
    record, said = attack(sandbox, REFUSED[name])
    assert (record.exit_code, "DONE" in said) == (0, False), said
    assert said.count("refused:") == said.count("\n") > 0


@pytest.mark.usefixtures("neighbour")
def test_who_takes_over_the_first_process_has_gained_nothing(sandbox: Sandbox) -> None:
    """A task may write into the memory of the sandbox's first process: it is held as the task is."""
    program = "print(open('/proc/1/status').read())"
    status = dict(line.split(":\t", 1) for line in attack(sandbox, program)[1].splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}


@pytest.mark.usefixtures("neighbour")
def test_killing_everybody_finds_nobody(sandbox: Sandbox) -> None:
    program = """
tried("kill everybody", lambda: os.kill(-1, signal.SIGKILL))
os.kill(1, signal.SIGKILL)  # the kernel keeps a namespace's first process from its own
print("alone")
"""
    record, said = attack(sandbox, program)
    assert (record.exit_code, said) == (0, "refused: kill everybody\nalone\n")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="these are machine instructions of x86_64")
@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("code", ["b814000000cd80c3", "b8270000400f05c3"], ids=["32 bits", "x32"])
def test_calls_of_another_architecture_end_the_task(sandbox: Sandbox, code: str) -> None:
    """getpid by the entrance of 32-bit programs, and by the numbers of x32: no filter of names sees those."""
    program = f"""
import mmap
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(bytes.fromhex("{code}"))
place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print("DONE", ctypes.CFUNCTYPE(ctypes.c_int)(place)())
"""
    record, said = attack(sandbox, program)
    assert "DONE" not in said
    assert (record.outcome, record.signal) == (AttemptOutcome.SIGNALLED, 31)


@as_root
@pytest.mark.usefixtures("neighbour")
def test_what_root_left_in_a_project_gives_nothing_away(sandbox: Sandbox) -> None:
    """A device file, a setuid program and a link to another project, as somebody with root may leave them."""
    project = sandbox.data_dir / "files/org_one/projects/prj_one"
    project.mkdir(parents=True)
    os.mknod(project / "memory", 0o20666, os.makedev(1, 5))
    (project / "memory").chmod(0o666)
    shutil.copy("/usr/bin/id", project / "id")
    (project / "id").chmod(0o4755)
    (project / "other").symlink_to(sandbox.data_dir / "files/org_two/projects")
    program = """
tried("open a device", lambda: read("/project/memory"))
tried("see a neighbour's files", lambda: os.listdir("/project/other"))
print("as", subprocess.run(["/project/id", "-u"], capture_output=True, text=True).stdout)
"""
    _, said = attack(sandbox, program)
    assert said.splitlines()[:3] == ["refused: open a device", "refused: see a neighbour's files", "as 1000"]


@pytest.mark.usefixtures("neighbour")
def test_no_path_leads_out(sandbox: Sandbox) -> None:
    """Files of the plane and of another organization, by every way around that paths and links know."""
    (sandbox.data_dir / "keys").mkdir()
    (sandbox.data_dir / "keys/log.key").write_text("secret")
    program = f"""
data = {str(sandbox.data_dir)!r}
for way in ("", "/proc/1/root", "/proc/self/root", "/proc/1/cwd/..", "/project/..", "/project/../..",
            "/proc/self/fd/0/..", "/proc/1/root/../..", "/dev/fd/1/.."):
    tried("list " + way, lambda: os.listdir(way + data))
    tried("read " + way, lambda: read(way + data + "/keys/log.key"))
    tried("write " + way, lambda: write(way + data + "/evil", "x"))
    tried("read a neighbour's " + way, lambda: os.listdir(way + data + "/files/org_two/projects"))
    tried("read logs " + way, lambda: os.listdir(way + data + "/files/org_two/logs"))
os.symlink(data + "/keys/log.key", "/project/link")
tried("read through a link", lambda: read("/project/link"))
tried("a hard link to the system's file", lambda: os.link("/etc/passwd", "/project/passwd"))
tried("a hard link to a program", lambda: os.link("/usr/bin/id", "/project/id2"))
os.link("/project/link", "/project/link2")
tried("read through a hard link to a link", lambda: read("/project/link2"))
tried("rename over the project", lambda: os.rename("/project", "/tmp/project"))
root = os.open("/", os.O_PATH)
for _ in range(40):
    root = os.open("..", os.O_PATH, dir_fd=root)
tried("climb out", lambda: os.listdir("/proc/self/fd/%d%s" % (root, data)))
"""
    record, said = attack(sandbox, program)
    assert (record.exit_code, "DONE" in said, "Traceback" in said) == (0, False, False), said
    assert sorted(path.name for path in sandbox.data_dir.iterdir() if path.name == "evil") == []


@pytest.fixture
def listeners() -> Iterator[list[Any]]:
    """What listens on the host: loopback, every address, and a name in the kernel's list of sockets."""
    name = f"\0kumoi-test-{os.getpid()}"
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(name)
    abstract.listen()
    with (
        abstract,
        socket.create_server(("127.0.0.1", 0)) as loopback,
        socket.create_server(("0.0.0.0", 0)) as everywhere,
    ):
        yield [loopback.getsockname()[1], everywhere.getsockname()[1], name]


@pytest.mark.usefixtures("neighbour")
def test_neither_the_plane_nor_a_neighbour_is_reached(sandbox: Sandbox, listeners: list[Any]) -> None:
    loopback, everywhere, name = listeners
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    serving = """
server = socket.create_server(("127.0.0.1", 8099))
hidden = socket.socket(socket.AF_UNIX); hidden.bind("\\0neighbour"); hidden.listen()
write("/dev/shm/mine", "x")
libc.shmget(0x4b55, 4096, 0o1666)
print("up", flush=True)
threading.Event().wait()
"""
    script = f"cat > /tmp/a.py <<'END'\n{PRELUDE}{serving}\nEND\nexec python3 /tmp/a.py"
    sandbox.volume("org_three")
    other = sandbox.spec(script, organization_id="org_three", project_id="prj_three", project_number=3)
    sandbox.engine.ensure([other])
    sandbox.await_output(other.ref)
    program = f"""
for host in ["127.0.0.1", "0.0.0.0", "169.254.169.254", *{[a for a in addresses if "." in a]!r}]:
    for port in ({loopback}, {everywhere}, 8099):
        tried(f"{{host}} {{port}}", lambda: socket.create_connection((host, port), timeout=3).close())
for name in ({name!r}, "\\0neighbour", "/run/dbus/system_bus_socket", "/var/run/docker.sock"):
    tried(f"socket {{name!r}}", lambda: socket.socket(socket.AF_UNIX).connect(name))
tried("shared memory", lambda: read("/dev/shm/mine"))
with open("/proc/sysvipc/shm") as segments:
    tried("segments", lambda: read("/none") if len(segments.readlines()) == 1 else None)
tried("a name from outside", lambda: socket.getaddrinfo("example.com", 80))
"""
    record, said = attack(sandbox, program)
    assert (record.exit_code, "DONE" in said, "Traceback" in said) == (0, False, False), said


@as_root
@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
def test_many_empty_files_in_memory_count_as_memory(sandbox: Sandbox, place: str) -> None:
    program = f"for n in range(400_000): os.close(os.open(f'{place}/{{n}}', os.O_CREAT | os.O_WRONLY))"
    record, said = attack(sandbox, program, limits={"memory_bytes": 48 << 20})
    assert record.outcome is AttemptOutcome.MEMORY or "No space" in said, (record, said)
    assert record.memory_peak_bytes <= 48 << 20


@as_root
@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize(
    "bomb",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "kept.append(os.pipe())",
        "kept.append(os.memfd_create('x')); os.write(kept[-1], bytes(1 << 20))",
        "kept.append(socket.socketpair()); kept[-1][0].setblocking(False); kept[-1][0].send(bytes(90_000))",
    ],
    ids=["threads", "descriptors", "memory files", "socket buffers"],
)
def test_a_bomb_of_other_kinds_stays_small(sandbox: Sandbox, bomb: str) -> None:
    program = f"import threading\nkept = []\nwhile True:\n    {bomb}"
    limits = {"memory_bytes": 48 << 20, "processes": 16, "wall_time_s": 20}
    record, said = attack(sandbox, program, limits=limits)
    assert record.outcome is not AttemptOutcome.TIMEOUT, said
    assert record.exit_code != 0
    assert record.memory_peak_bytes <= 48 << 20


@pytest.fixture
def small_disk(sandbox: Sandbox) -> Iterator[Path]:
    """The organization's files on a disk of 48 MiB of its own, 5 % of it kept for root."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed (apt-get install e2fsprogs)")
    mounted = sandbox.data_dir / "files"
    shutil.rmtree(mounted / "org_one")
    image = sandbox.root / "disk"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "5", image], capture_output=True, check=False)
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, mounted], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    sandbox.volume("org_one")
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


@as_root
def test_a_host_with_a_full_disk_takes_no_more_work(sandbox: Sandbox, small_disk: Path) -> None:
    for number in range(4_000):
        (small_disk / str(number)).touch()
    tasks = sandbox.data_dir / "tasks"
    subprocess.run(["mount", "--bind", small_disk, tasks], check=True)
    try:
        (report,) = sandbox.engine.hosts()
    finally:
        subprocess.run(["umount", tasks], check=True)
    assert not report.healthy
    assert "less than 256 MiB are free" in report.detail
    assert "less than 10000 files can be made" in report.detail


@as_root
@pytest.mark.parametrize(
    "fill",
    [
        "while True: write(f'/project/{len(os.listdir())}', 'x' * (1 << 20))",
        "for n in range(200_000): os.close(os.open(f'/project/{n}', os.O_CREAT | os.O_WRONLY))",
    ],
    ids=["bytes", "inodes"],
)
def test_a_disk_that_a_task_fills_leaves_room_for_root(
    sandbox: Sandbox, small_disk: Path, fill: str, neighbour: None
) -> None:
    """Tasks write as the project's user: the blocks that the disk keeps for root stay free."""
    record, _ = attack(sandbox, fill)
    assert (record.outcome, record.exit_code) == (AttemptOutcome.EXITED, 1)
    disk = os.statvfs(small_disk)
    if "len(" in fill:
        assert disk.f_bavail * disk.f_frsize < 1 << 20 < disk.f_bfree * disk.f_frsize
        (small_disk / "of-root").write_bytes(bytes(1 << 20))
    else:
        assert disk.f_favail < 10
    spec = sandbox.spec("echo on")
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    assert sandbox.settle(spec.ref)[0].exit.exit_code == 0


AS_ORDINARY = """
import os, sys, time
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from threading import Event
from kumoi.engines.base import AttemptSpec, Limits, Stream
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.store.volumes.layout import layout_make
place = Path(sys.argv[1], "files", "org_one")
place.mkdir(mode=0o711, parents=True)
layout_make(os.open(place, os.O_RDONLY))
engine = SandboxEngine(Path(sys.argv[1]), sys.argv[2], host_name="here")
changed = Event()
engine.on_change(changed.set)
engine.ensure([AttemptSpec(ref="att_a", organization_id="org_one", project_id="prj_one", project_number=1,
    command=("python3", "-c", sys.stdin.read()), environment={},
    start_before_us=time.time_ns() // 1000 + 60_000_000,
    limits=Limits(cpu_milli=1000, memory_bytes=256 << 20, processes=64, wall_time_s=60))])
while not (ended := engine.ended(1)):
    changed.wait(0.1)
print(ended[0].exit.exit_code)
print(engine.log_read("att_a", Stream.STDOUT, 0, 1 << 20).data.decode())
print(engine.log_read("att_a", Stream.STDERR, 0, 1 << 20).data.decode())
"""


@as_root
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the calls are those of x86_64")
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_where_an_ordinary_user_runs_the_plane(sandbox: Sandbox, name: str) -> None:
    python = next((each for each in (sys.executable, "/usr/bin/python3") if usable(each)), None)
    if python is None:
        pytest.skip("other users cannot read this checkout or its Python")
    place = Path(f"/tmp/kumoi-test-{sandbox.incarnation}")
    place.mkdir(mode=0o700)
    os.chown(place, USER, USER)
    try:
        done = subprocess.run(
            [python, "-B", "-c", AS_ORDINARY, place, sandbox.incarnation, *PATHS],
            input=PRELUDE + REFUSED[name],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            user=USER,
            group=USER,
            extra_groups=[],
        )
    finally:
        subprocess.run(["rm", "-rf", place], check=True)
    assert done.stdout.startswith("0\n"), (done.stdout, done.stderr)
    assert "DONE" not in done.stdout
    assert "refused:" in done.stdout


def usable(python: str) -> bool:
    """Whether an ordinary user may run this interpreter, and finds with it what the engine needs."""
    program = f"import sys; sys.path[:0] = {PATHS!r}; import kumoi.model.jobs"
    with contextlib.suppress(OSError):
        command = [python, "-B", "-c", program]
        return (
            subprocess.run(command, user=USER, group=USER, check=False, capture_output=True).returncode == 0
        )
    return False

"""A whole Slurm in a temporary directory, on free ports: the peer of the submit and start-up benches.

munged, slurmctld, slurmd and slurmrestd run in the foreground as children of the bench. slurmrestd refuses to
be root or SlurmUser, so it runs as `nobody`; therefore all of this needs root.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ports import port_answers, port_free

USER = "nobody"
PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmrestd", "scontrol", "sbatch", "scancel")
READY_S = 20.0
STOP_S = 10.0
NODE_CPUS = 16
JOBS_MAX = 1_000_000


class SlurmMissing(Exception):
    """Slurm cannot be measured here; the text says what to do."""


class Slurm:
    """Slurm with one node of `NODE_CPUS` claimed processors. A context manager: leaving stops everything."""

    def __init__(self) -> None:
        slurm_check()
        self.root = Path(tempfile.mkdtemp(prefix="kumoi-bench-slurm-"))
        self.rest_port = 0
        self.controller_ready_s = 0.0
        self.token = ""
        self._ports = {name: port_free() for name in ("slurmctld", "slurmd")}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {"PATH": os.environ["PATH"], "SLURM_CONF": str(self.root / "slurm.conf")}

    def __enter__(self) -> "Slurm":
        try:
            self._configure()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """The processes of this Slurm."""
        return [process.pid for process in self._processes]

    def run(self, *command: str, timeout_s: float = 60.0) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done.stdout

    def jobs_forget(self) -> None:
        """Cancel everything, so that the next measurement starts with an empty queue.

        Tens of thousands of held jobs keep Slurm busy for minutes.
        """
        self.run("scancel", "--user", USER, timeout_s=300.0)

    def stop(self) -> None:
        """Stop every process and remove every file."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        self._processes.clear()
        shutil.rmtree(self.root, ignore_errors=True)

    def _configure(self) -> None:
        self.root.chmod(0o755)
        (self.root / "munge").mkdir(mode=0o755)
        for name in ("state", "spool"):
            (self.root / name).mkdir(mode=0o700)
        for name, size in (("munge/key", 1_024), ("jwt.key", 32)):
            (self.root / name).write_bytes(os.urandom(size))
            (self.root / name).chmod(0o400)
        host = socket.gethostname()
        lines = {
            "ClusterName": "bench",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": self._ports["slurmctld"],
            "SlurmUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.root}/munge/socket",
            "CredType": "cred/munge",
            "AuthAltTypes": "auth/jwt",
            "AuthAltParameters": f"jwt_key={self.root}/jwt.key",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core",
            "ReturnToService": 2,
            "SchedulerParameters": "batch_sched_delay=0",
            "SlurmctldDebug": "error",
            "SlurmdDebug": "error",
            "MaxJobCount": JOBS_MAX,
            "MinJobAge": 2,
            "StateSaveLocation": self.root / "state",
            "SlurmdSpoolDir": self.root / "spool",
            "SlurmdPidFile": self.root / "slurmd.pid",
            "SlurmctldPidFile": self.root / "slurmctld.pid",
            "SlurmctldLogFile": self.root / "slurmctld.log",
            "SlurmdLogFile": self.root / "slurmd.log",
            "SlurmdParameters": "config_overrides",
            "MailProg": "/bin/true",
            "NodeName": f"p1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs={NODE_CPUS}"
            f" Port={self._ports['slurmd']}",
            "PartitionName": "main Nodes=ALL Default=YES State=UP",
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (self.root / "slurm.conf").write_text(text)

    def _start(self) -> None:
        munge = self.root / "munge"
        places = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{option}={munge}/{name}" for option, name in places.items()]
        self._spawn("munged", "--foreground", "--force", *options)
        self._wait(lambda: (munge / "socket").exists(), "munged")
        configuration = str(self.root / "slurm.conf")
        begun = time.perf_counter()
        self._spawn("slurmctld", "-D", "-i", "-f", configuration)
        self._wait(lambda: port_answers(self._ports["slurmctld"]), "slurmctld")
        self.controller_ready_s = time.perf_counter() - begun
        self._spawn("slurmd", "-D", "-f", configuration, "-N", "p1")
        self._wait(self._node_idle, "slurmctld and slurmd")
        self.token = (
            self.run("scontrol", "token", f"username={USER}", "lifespan=7200").strip().partition("=")[2]
        )
        self.rest_port = port_free()
        arguments = ("-a", "rest_auth/jwt", "-s", "openapi/v0.0.38", f"127.0.0.1:{self.rest_port}")
        self._spawn("slurmrestd", *arguments, user=USER)
        self._wait(lambda: port_answers(self.rest_port), "slurmrestd")

    def _spawn(self, *command: str, user: str | None = None) -> None:
        with (self.root / f"{command[0]}.out").open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    command,
                    env={**self.environment, "SLURM_JWT": "daemon"} if user else self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    user=user,
                    group="nogroup" if user else None,
                    extra_groups=[] if user else None,
                    cwd="/",
                )
            )

    def _node_idle(self) -> bool:
        command = ("scontrol", "show", "node", "p1")
        shown = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        return "State=IDLE" in shown.stdout

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_S
        while not ready():
            ended = [process.args for process in self._processes if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not get ready in {READY_S:.0f} s{self._outputs()}")
            time.sleep(0.002)

    def _outputs(self) -> str:
        files = [*self.root.glob("*.out"), *self.root.glob("*.log"), *self.root.glob("munge/log")]
        return "".join(f"\n--- {file.name}\n{file.read_text()[-1_000:]}" for file in sorted(files))


def slurm_check() -> None:
    """SlurmMissing, with the command that mends it, where Slurm cannot run."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SlurmMissing(f"{', '.join(missing)} missing: run bench/install_peers.sh as root")
    if os.geteuid() != 0:
        raise SlurmMissing("slurmrestd must run as a user other than SlurmUser, which takes root: use sudo")

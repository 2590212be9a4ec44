"""The public trace "openb" (Alibaba, 2023), hosts made up in its form, and how its tasks arrive.

Read by name of column: `sn, cpu_milli, memory_mib, gpu, model` for hosts; `name, cpu_milli, memory_mib,
num_gpu, gpu_milli` and, in most lists, `gpu_spec` (models joined by "|") for tasks. Times are not used.
"""

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

OVERLOAD = 1.3
SYNTHETIC_CPU_MILLI = 192_000
SYNTHETIC_MEMORY_MIB = 2 << 20
SYNTHETIC_MODEL = "H200"
WHOLE_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Host:
    """A host, empty. All of its GPUs are of one model."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


@dataclass(frozen=True, slots=True)
class Task:
    """What a task asks for: `gpus` whole ones, or `gpu_milli` thousandths of one. `models` None: any."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    models: frozenset[str] | None

    @property
    def milli(self) -> int:
        """Thousandths of GPUs in all."""
        return self.gpus * self.gpu_milli


def hosts_read(path: Path, replicate: int = 1) -> list[Host]:
    """The hosts of a list, `replicate` times over, in order of name."""
    hosts = [
        Host(
            f"{row['sn']}-{copy:03}" if replicate > 1 else row["sn"],
            int(row["cpu_milli"]),
            int(row["memory_mib"]),
            int(row["gpu"]),
            row["model"],
        )
        for row in _rows_read(path)
        for copy in range(replicate)
    ]
    return sorted(hosts, key=lambda host: host.name)


def hosts_make(size: str) -> list[Host]:
    """Hosts made up from "HOSTSxGPUS", as servers with eight H200 are built: 192 cores and 2 TiB each.

    ValueError for another form.
    """
    count, _, gpus = size.partition("x")
    if not (count.isdecimal() and gpus.isdecimal()):
        raise ValueError(f"hosts are given as HOSTSxGPUS, such as 948x8, not {size}")
    return [
        Host(f"host-{n:06}", SYNTHETIC_CPU_MILLI, SYNTHETIC_MEMORY_MIB, int(gpus), SYNTHETIC_MODEL)
        for n in range(int(count))
    ]


def tasks_read(path: Path, replicate: int = 1) -> list[Task]:
    """The tasks of a list, `replicate` times over."""
    return [
        Task(
            int(row["cpu_milli"]),
            int(row["memory_mib"]),
            int(row["num_gpu"]),
            int(row["gpu_milli"]) if int(row["num_gpu"]) else WHOLE_MILLI,
            frozenset(row["gpu_spec"].split("|")) if row.get("gpu_spec") else None,
        )
        for row in _rows_read(path)
    ] * replicate


def capacity_milli(hosts: list[Host]) -> int:
    """Thousandths of GPUs of all hosts."""
    return WHOLE_MILLI * sum(host.gpus for host in hosts)


def arrivals_make(tasks: list[Task], capacity: int, seed: int) -> list[Task]:
    """All tasks in random order, then tasks drawn with replacement until 1.3 times the capacity is asked for.

    A list that asks for more than that loses random tasks. PCG64 from `seed`. ValueError if no task asks for
    a GPU, for then there is no end.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    if not any(task.milli for task in tasks):
        raise ValueError("no task of the list asks for a GPU")
    arrivals = [tasks[index] for index in random.permutation(len(tasks))]
    asked = sum(task.milli for task in arrivals)
    if asked > OVERLOAD * capacity:
        while asked > OVERLOAD * capacity:
            asked -= arrivals.pop(int(random.integers(len(arrivals)))).milli
        return arrivals
    while asked < OVERLOAD * capacity:
        arrivals.append(tasks[int(random.integers(len(tasks)))])
        asked += arrivals[-1].milli
    return arrivals


def _rows_read(path: Path) -> list[dict[str, str]]:
    packed = path.read_bytes()
    text = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
    return list(csv.DictReader(io.StringIO(text.decode("utf-8"))))

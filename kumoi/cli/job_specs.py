"""From flags and files to a job's specification. Flags go over what the file says."""

import json
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from kumoi.cli.command import option
from kumoi.cli.language import _
from kumoi.cli.text import cpu_parse, duration_parse, memory_parse
from kumoi.model.jobs import (
    DEVICE_MILLI,
    DependencyCondition,
    GangScope,
    HostLossPolicy,
    JobBatch,
    JobSpec,
    RetryReason,
    WorkClass,
)
from kumoi.model.places import IsolationClass

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
FILE_BYTES_MAX: Final = 64 << 20

_OPTIONS: Final = (
    option(
        "-f",
        "--file",
        "spec_file",
        metavar="FILE",
        help="Specification in JSON or TOML; - is JSON on standard input.",
    ),
    option("--name", help="Name of the job."),
    option(
        "-e",
        "--env",
        "environment",
        multiple=True,
        metavar="NAME=VALUE",
        help="Environment variable; may be repeated.",
    ),
    option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="FILE=SECRET",
        help="Put a secret into /run/secrets/FILE; may be repeated.",
    ),
    option("--cpu", metavar="N", help="CPUs of each task: 2, 0.5, 500m."),
    option("--memory", metavar="SIZE", help="Memory of each task: 512Mi, 2G. A task over it is ended."),
    option("--time", "wall_time", metavar="TIME", help="Longest time of each task: 90, 15m, 2h."),
    option("--disk", metavar="SIZE", help="Disk of each task: 10G."),
    option("--processes", type=click.IntRange(1), help="Most processes of each task."),
    option(
        "--device",
        "devices",
        multiple=True,
        metavar="KIND[:COUNT[:MODEL[/PARTITION]]]",
        help="Devices for each task, 0.5 is a share of one; may be repeated.",
    ),
    option(
        "--array",
        "array_size",
        type=click.IntRange(1),
        metavar="N",
        help="Run N tasks; each finds its number in KUMOI_TASK_INDEX.",
    ),
    option("--gang", is_flag=True, help="Start all tasks together or none."),
    option(
        "--retries",
        "retry_limit",
        type=click.IntRange(0),
        metavar="N",
        help="Try a task again up to N times.",
    ),
    option(
        "--retry-on",
        multiple=True,
        type=click.Choice([str(r) for r in RetryReason]),
        help="After what; may be repeated (host_lost).",
    ),
    option(
        "--retry-exit-code",
        "retry_exit_codes",
        multiple=True,
        type=click.IntRange(0, 255),
        help="Only after these exit codes; may be repeated.",
    ),
    option(
        "--on-host-lost",
        type=click.Choice([str(p) for p in HostLossPolicy]),
        help="Wait for a lost machine, or replace it.",
    ),
    option("--priority", type=int, help="Higher goes first, within the organization."),
    option(
        "--class",
        "work_class",
        type=click.Choice([str(c) for c in WorkClass]),
        help="What happens when capacity is short.",
    ),
    option(
        "--after", multiple=True, metavar="JOB", help="Wait until this job has succeeded; may be repeated."
    ),
    option(
        "--after-ended", multiple=True, metavar="JOB", help="Wait until this job has ended; may be repeated."
    ),
    option("--pool", help="Only on machines of this pool."),
    option("--site", "sites", multiple=True, help="Only at this site; may be repeated."),
    option(
        "--jurisdiction",
        "jurisdictions",
        multiple=True,
        metavar="COUNTRY",
        help="Only in this country (JP); may be repeated.",
    ),
    option("--latency", multiple=True, metavar="PLACE=MS", help="Only so near to a place; may be repeated."),
    option(
        "--isolation",
        type=click.Choice([str(c) for c in IsolationClass]),
        help="What must stand between this and other organizations' work, at least.",
    ),
    option(
        "--spread",
        metavar="host|failure_domain[:N]",
        help="At most N (1) tasks of the job in one host or failure domain.",
    ),
    option(
        "--gang-within",
        type=click.Choice([str(s) for s in GangScope]),
        help="How near the tasks of a gang must be.",
    ),
    option("--dedicated", is_flag=True, help="Only on hosts dedicated to the organization."),
    option("--reservation", metavar="NAME", help="Only on the hosts of this reservation."),
    option("--network", is_flag=True, help="Use the network, where the pool allows it."),
)


def spec_options(command: F) -> F:
    """The flags that say what to run."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def spec_build(command: Sequence[str], flags: Mapping[str, Any]) -> JobSpec:
    """The specification of the file, if one is named, with the flags over it. Raises UsageError."""
    source = flags["spec_file"]
    spec = dict(_mapping(source)) if source else {}
    what = source or _("the flags")
    if command:
        spec["command"] = list(command)
    for name in ("name", "array_size", "on_host_lost", "priority", "work_class", "pool"):
        if flags[name] is not None:
            spec[name] = flags[name]
    for name in ("gang", "network"):
        if flags[name]:
            spec[name] = True
    for name in ("environment", "secrets"):
        if flags[name]:
            spec[name] = {**spec.get(name, {}), **_pairs(flags[name])}
    _merge(spec, "resources", _resources(flags))
    _merge(spec, "rules", _rules(flags))
    _merge(spec, "retries", _retries(flags))
    conditions = [(job, DependencyCondition.SUCCEEDED) for job in flags["after"]]
    conditions += [(job, DependencyCondition.ENDED) for job in flags["after_ended"]]
    if conditions:
        added = [{"job": job, "condition": str(condition)} for job, condition in conditions]
        spec["depends_on"] = [*spec.get("depends_on", []), *added]
    if "command" not in spec:
        raise click.UsageError(_("say what to run: kumoi job run -- COMMAND..., or --file FILE"))
    return _convert(spec, JobSpec, what)


def batch_read(source: str) -> tuple[JobSpec, ...]:
    """The jobs in a file: a JSON list, {"jobs": [...]}, JSON lines, or TOML with [[jobs]]."""
    if source.endswith(".jsonl"):
        found: Any = [_json(line, source) for line in _read(source).splitlines() if line.strip()]
    else:
        found = _parse(source)
    jobs = found if isinstance(found, dict) else {"jobs": found}
    return _convert(jobs, JobBatch, source).jobs


def _resources(flags: Mapping[str, Any]) -> dict[str, Any]:
    parsed = {
        "cpu_milli": cpu_parse(flags["cpu"]) if flags["cpu"] else None,
        "memory_bytes": memory_parse(flags["memory"]) if flags["memory"] else None,
        "wall_time_s": int(duration_parse(flags["wall_time"])) if flags["wall_time"] else None,
        "disk_bytes": memory_parse(flags["disk"]) if flags["disk"] else None,
        "processes": flags["processes"],
        "devices": [_device(text) for text in flags["devices"]] or None,
    }
    return {name: value for name, value in parsed.items() if value is not None}


def _retries(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "limit": flags["retry_limit"],
        "on": list(flags["retry_on"]) or None,
        "exit_codes": list(flags["retry_exit_codes"]) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _rules(flags: Mapping[str, Any]) -> dict[str, Any]:
    over, _colon, most = (flags["spread"] or "").partition(":")
    if most and not most.isdecimal():
        raise click.BadParameter(_("{text} is no spread; write host or failure_domain:4").format(text=over))
    given = {
        "sites": list(flags["sites"]) or None,
        "jurisdictions": list(flags["jurisdictions"]) or None,
        "latency": [{"to": to, "max_ms": ms} for to, ms in latencies_parse(flags["latency"]).items()] or None,
        "isolation": flags["isolation"],
        "spread": {"over": over, **({"most": int(most)} if most else {})} if over else None,
        "gang_within": flags["gang_within"],
        "dedicated": flags["dedicated"] or None,
        "reservation": flags["reservation"],
    }
    return {name: value for name, value in given.items() if value is not None}


def _merge(spec: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    if values:
        spec[name] = {**spec.get(name, {}), **values}


def _device(text: str) -> dict[str, Any]:
    kind, _colon, rest = text.partition(":")
    count, _colon, rest = rest.partition(":")
    model, _slash, partition = rest.partition("/")
    try:
        amount = Decimal(count or "1")
    except InvalidOperation:
        amount = Decimal(0)
    amount = amount if amount.is_finite() else Decimal(0)
    milli = amount * DEVICE_MILLI
    is_share = 0 < amount < 1 and milli == int(milli)
    if not is_share and (amount < 1 or amount != int(amount)):
        raise click.BadParameter(
            _("{text} is no device; write gpu, gpu:2, gpu:0.5 or gpu:2:MODEL").format(text=text)
        )
    request: dict[str, Any] = {"kind": kind, "count": 1 if is_share else int(amount)}
    if is_share:
        request["milli"] = int(milli)
    if model:
        request["models"] = [model]
    if partition:
        request["partition"] = partition
    return request


def latencies_parse(given: Sequence[str]) -> dict[str, int]:
    """Milliseconds by place, from `PLACE=MS`."""
    pairs = _pairs(given)
    if not all(text.isdecimal() for text in pairs.values()):
        raise click.BadParameter(_("a latency is in whole milliseconds: tokyo=10"))
    return {to: int(text) for to, text in pairs.items()}


def _pairs(given: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(_("{text} has no =; write NAME=VALUE").format(text=text))
        pairs[name] = value
    return pairs


def _mapping(source: str) -> dict[str, Any]:
    found = _parse(source)
    if not isinstance(found, dict):
        raise click.UsageError(_("{source} holds no job: an object is needed").format(source=source))
    return found


def _parse(source: str) -> Any:
    text = _read(source)
    if not source.endswith(".toml"):
        return _json(text, source)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise click.UsageError(
            _("{source} is not TOML: {reason}").format(source=source, reason=error)
        ) from error


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(
            _("{source} is not JSON: {reason}").format(source=source, reason=error)
        ) from error


def _read(source: str) -> str:
    if source == "-":
        raw = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with Path(source).open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    if len(raw) > FILE_BYTES_MAX:
        raise click.UsageError(
            _("{source} has more than {limit} bytes").format(source=source, limit=FILE_BYTES_MAX)
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(
            _("{source} is not UTF-8 at byte {at}").format(source=source, at=error.start)
        ) from error


def _convert(value: Any, kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise click.UsageError(_("{what}: {reason}").format(what=what, reason=error)) from error

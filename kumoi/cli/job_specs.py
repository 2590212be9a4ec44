"""From flags and files to a job's specification. Flags go over what the file says."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from kumoi.cli.command import option
from kumoi.cli.language import _
from kumoi.cli.spec_files import document_read, json_parse, mapping_read, spec_convert, text_read
from kumoi.cli.spec_flags import SHARED, image_check, pairs_parse, resources_parse, rules_parse, values_merge
from kumoi.model.jobs import (
    DependencyCondition,
    GangScope,
    HostLossPolicy,
    JobBatch,
    JobSpec,
    RetryReason,
)

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    SHARED["file"],
    option("--name", help="Name of the job."),
    SHARED["environment"],
    SHARED["secrets"],
    SHARED["cpu"],
    SHARED["memory"],
    option("--time", "wall_time", metavar="TIME", help="Longest time of each task: 90, 15m, 2h."),
    SHARED["disk"],
    SHARED["processes"],
    SHARED["devices"],
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
    SHARED["priority"],
    SHARED["work_class"],
    option(
        "--after", multiple=True, metavar="JOB", help="Wait until this job has succeeded; may be repeated."
    ),
    option(
        "--after-ended", multiple=True, metavar="JOB", help="Wait until this job has ended; may be repeated."
    ),
    SHARED["pool"],
    SHARED["sites"],
    SHARED["jurisdictions"],
    SHARED["latency"],
    SHARED["isolation"],
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
    SHARED["dedicated"],
    SHARED["reservation"],
    option("--network", is_flag=True, help="Use the network, where the pool allows it."),
    option("--image", metavar="NAME@sha256:HEX", help="Container image, by digest."),
)


def spec_options(command: F) -> F:
    """The flags that say what to run."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def spec_build(command: Sequence[str], flags: Mapping[str, Any]) -> JobSpec:
    """The specification of the file, if one is named, with the flags over it. Raises UsageError."""
    source = flags["spec_file"]
    spec = dict(mapping_read(source)) if source else {}
    what = source or _("the flags")
    if command:
        spec["command"] = list(command)
    for name in ("name", "array_size", "on_host_lost", "priority", "work_class", "pool", "image"):
        if flags[name] is not None:
            spec[name] = image_check(flags[name]) if name == "image" else flags[name]
    for name in ("gang", "network"):
        if flags[name]:
            spec[name] = True
    for name in ("environment", "secrets"):
        if flags[name]:
            spec[name] = {**spec.get(name, {}), **pairs_parse(flags[name])}
    values_merge(spec, "resources", resources_parse(flags))
    values_merge(spec, "rules", rules_parse(flags))
    values_merge(spec, "retries", _retries(flags))
    conditions = [(job, DependencyCondition.SUCCEEDED) for job in flags["after"]]
    conditions += [(job, DependencyCondition.ENDED) for job in flags["after_ended"]]
    if conditions:
        added = [{"job": job, "condition": str(condition)} for job, condition in conditions]
        spec["depends_on"] = [*spec.get("depends_on", []), *added]
    if not spec.get("command") and spec.get("image") is None:
        raise click.UsageError(_("say what to run: kumoi job run -- COMMAND..., or --file FILE"))
    return spec_convert(spec, JobSpec, what)


def batch_read(source: str) -> tuple[JobSpec, ...]:
    """The jobs in a file: a JSON list, {"jobs": [...]}, JSON lines, or TOML with [[jobs]]."""
    if source.endswith(".jsonl"):
        found: Any = [json_parse(line, source) for line in text_read(source).splitlines() if line.strip()]
    else:
        found = document_read(source)
    jobs = found if isinstance(found, dict) else {"jobs": found}
    return spec_convert(jobs, JobBatch, source).jobs


def _retries(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "limit": flags["retry_limit"],
        "on": list(flags["retry_on"]) or None,
        "exit_codes": list(flags["retry_exit_codes"]) or None,
    }
    return {name: value for name, value in given.items() if value is not None}

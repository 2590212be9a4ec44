"""From flags and files to a service's specification. Flags go over what the file, or the service, says."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import click
import msgspec

from kumoi.cli.command import option
from kumoi.cli.language import _
from kumoi.cli.spec_files import mapping_read, spec_convert
from kumoi.cli.spec_flags import SHARED, image_check, pairs_parse, resources_parse, rules_parse, values_merge
from kumoi.cli.text import duration_parse
from kumoi.model.jobs import WorkClass
from kumoi.model.services import ScalePolicy, ServiceSpec

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    SHARED["file"],
    option("--port", type=click.IntRange(1, 65_535), help="Port on which each replica listens."),
    option("--image", metavar="NAME@sha256:HEX", help="Container image, by digest."),
    SHARED["environment"],
    SHARED["secrets"],
    option(
        "--min", "min_replicas", type=click.IntRange(0), metavar="N", help="Fewest replicas; 0 is allowed."
    ),
    option("--max", "max_replicas", type=click.IntRange(1), metavar="N", help="Most replicas."),
    option(
        "--concurrency",
        type=click.IntRange(1),
        metavar="N",
        help="Requests that are sent to a replica at once, at most.",
    ),
    option(
        "--policy", type=click.Choice([str(p) for p in ScalePolicy]), help="Who decides how many replicas."
    ),
    option("--slo", metavar="TIME", help="Longest that a request may wait for a replica: 0.5, 2s."),
    option("--violations", metavar="PERCENT", help="Share of requests that may wait longer: 1, 0.5."),
    option("--host", "hosts", multiple=True, metavar="NAME", help="Host name of its own; may be repeated."),
    option("--path", metavar="/PATH", help="Requests whose path begins so; by default /PROJECT/NAME."),
    option("--keep-path", is_flag=True, help="Pass the path on whole, the prefix included."),
    option(
        "--ready", "readiness", metavar="/PATH", help="Path that answers 200 to 399 once a replica is ready."
    ),
    option(
        "--alive", "liveness", metavar="/PATH", help="Path that answers 200 to 399 while a replica is sound."
    ),
    option(
        "--start-timeout", metavar="TIME", help="Longest that a replica may take to become ready: 60, 5m."
    ),
    option(
        "--surge", type=click.IntRange(1), metavar="N", help="Replicas more than wanted during a rollout."
    ),
    option("--no-rollback", is_flag=True, help="Keep trying a revision that fails, instead of giving it up."),
    SHARED["cpu"],
    SHARED["memory"],
    SHARED["disk"],
    SHARED["processes"],
    SHARED["devices"],
    SHARED["priority"],
    SHARED["work_class"],
    SHARED["pool"],
    SHARED["sites"],
    SHARED["jurisdictions"],
    SHARED["latency"],
    SHARED["isolation"],
    SHARED["dedicated"],
    SHARED["reservation"],
)


def service_options(command: F) -> F:
    """The flags that say what to keep running."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def service_spec_build(
    command: Sequence[str], flags: Mapping[str, Any], known: ServiceSpec | None = None
) -> ServiceSpec:
    """The specification of the file, or of the service as it is known, with the flags over it.

    Raises UsageError.
    """
    source = flags["spec_file"]
    base = {} if known is None else msgspec.to_builtins(known)
    spec = dict(mapping_read(source)) if source else base
    if known is not None:
        spec["name"] = known.name
    for name in ("name", "priority", "work_class", "pool"):
        if flags.get(name) is not None:
            spec[name] = str(flags[name]) if isinstance(flags[name], WorkClass) else flags[name]
    values_merge(spec, "run", _run(command, flags, dict(spec.get("run", {}))))
    values_merge(spec, "scale", _scale(flags))
    values_merge(spec, "route", _route(flags))
    values_merge(spec, "rollout", _rollout(flags))
    values_merge(spec, "rules", rules_parse(flags))
    run = spec.get("run", {})
    if "port" not in run:
        raise click.UsageError(_("say where replicas listen: --port, or run.port in --file FILE"))
    if not run.get("command") and run.get("image") is None:
        raise click.UsageError(
            _("say what to run: kumoi service create --port PORT -- COMMAND..., --image, or --file FILE")
        )
    return spec_convert(spec, ServiceSpec, source or _("the flags"))


def _run(command: Sequence[str], flags: Mapping[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = {"command": list(command)} if command else {}
    for name in ("port", "image", "concurrency"):
        if flags[name] is not None:
            run[name] = image_check(flags[name]) if name == "image" else flags[name]
    for name in ("environment", "secrets"):
        if flags[name]:
            run[name] = {**known.get(name, {}), **pairs_parse(flags[name])}
    resources = resources_parse(flags)
    if resources:
        run["resources"] = {**known.get("resources", {}), **resources}
    timeout = flags["start_timeout"]
    if flags["readiness"] is not None or timeout is not None:
        check = dict(known.get("readiness", {}))
        if flags["readiness"] is not None:
            check["path"] = flags["readiness"]
        if timeout is not None:
            check["start_timeout_s"] = int(duration_parse(timeout))
        run["readiness"] = check
    if flags["liveness"] is not None:
        run["liveness"] = {**(known.get("liveness") or {}), "path": flags["liveness"]}
    return run


def _scale(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: flags[name] for name in ("min_replicas", "max_replicas", "policy")}
    given["slo_wait_ms"] = round(duration_parse(flags["slo"]) * 1_000) if flags["slo"] else None
    given["violation_target_ppm"] = _share_ppm(flags["violations"]) if flags["violations"] else None
    return {name: value for name, value in given.items() if value is not None}


def _route(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        "hosts": list(flags["hosts"]) or None,
        "path": flags["path"],
        "strip_path": False if flags["keep_path"] else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _rollout(flags: Mapping[str, Any]) -> dict[str, Any]:
    given = {"surge": flags["surge"], "rollback": False if flags["no_rollback"] else None}
    return {name: value for name, value in given.items() if value is not None}


def _share_ppm(text: str) -> int:
    """Parts per million for a percentage: `1`, `0.5` or `0.5%`."""
    try:
        ppm = Decimal(text.removesuffix("%").strip()) * 10_000
    except InvalidOperation:
        ppm = Decimal("NaN")
    if not ppm.is_finite():
        raise click.BadParameter(_("{text} is no percentage; write 1 or 0.5").format(text=text))
    return int(ppm)

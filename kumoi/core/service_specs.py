"""What in the specification of a service contradicts itself, and where requests find the service."""

from ipaddress import ip_address

from kumoi.model.errors import Invalid
from kumoi.model.ids import IdKind
from kumoi.model.jobs import Resources
from kumoi.model.services import RevisionSpec, RouteSpec, ScaleSpec, Schedule, ServiceSpec

_WALL_TIME_S = Resources().wall_time_s
# What is said of a replica's job is said of the service's `run`.
_OF_RUN = ("/command", "/environment", "/image", "/port", "/resources", "/secrets")


def service_path(project_id: str, spec: ServiceSpec) -> str:
    """The path prefix under which requests reach the service: without a slash at its end, or `/` for all."""
    path = spec.route.path
    if path is None:
        return "/" if spec.route.hosts else f"/{project_id}/{spec.name}"
    return path.rstrip("/") or "/"


def service_hosts(spec: ServiceSpec) -> tuple[str, ...]:
    """The host names of the service, each once; an empty one where any will do."""
    return tuple(dict.fromkeys(spec.route.hosts)) or ("",)


def service_contradiction(project_id: str, spec: ServiceSpec) -> Invalid | None:
    """The first thing in the specification that cannot be, whatever pools there are."""
    return (
        _scale_contradiction(spec.scale)
        or _run_contradiction(spec.run)
        or _route_contradiction(project_id, spec.route)
        or _rules_contradiction(spec)
    )


def job_error_placed(error: Invalid) -> Invalid:
    """An error about a replica's job, as one about its place in the service."""
    if error.at is not None and error.at.startswith(_OF_RUN):
        error.at = f"/run{error.at}"
    return error


def pin_contradiction(scale: ScaleSpec, replicas: int) -> Invalid | None:
    """Whether so many replicas are more than the service may have."""
    if replicas <= scale.max_replicas:
        return None
    return Invalid(
        "pin_above_max",
        "{replicas} replicas are more than the service's {most}; pin fewer, or raise `max_replicas`",
        at="/scale/pin",
        replicas=replicas,
        most=scale.max_replicas,
    )


def _scale_contradiction(scale: ScaleSpec) -> Invalid | None:
    if scale.min_replicas > scale.max_replicas:
        return _min_above_max(scale, "/scale")
    for index, schedule in enumerate(scale.schedules):
        found = _schedule_contradiction(scale, schedule, f"/scale/schedules/{index}")
        if found is not None:
            return found
    return None if scale.pin is None else pin_contradiction(scale, scale.pin)


def _schedule_contradiction(scale: ScaleSpec, schedule: Schedule, at: str) -> Invalid | None:
    if schedule.from_minute >= schedule.to_minute:
        return Invalid(
            "schedule_empty",
            "the schedule begins at minute {begin} of the day and ends at {end}, not after it; "
            "write a night as two schedules, up to 1440 and from 0",
            at=f"{at}/to_minute",
            begin=schedule.from_minute,
            end=schedule.to_minute,
        )
    if schedule.min_replicas > schedule.max_replicas:
        return _min_above_max(schedule, at)
    if schedule.min_replicas < scale.min_replicas or schedule.max_replicas > scale.max_replicas:
        return Invalid(
            "schedule_outside",
            "a schedule narrows the service's own {least} to {most} replicas; {low} to {high} is outside",
            at=at,
            least=scale.min_replicas,
            most=scale.max_replicas,
            low=schedule.min_replicas,
            high=schedule.max_replicas,
        )
    return None


def _min_above_max(bounds: ScaleSpec | Schedule, at: str) -> Invalid:
    return Invalid(
        "replicas_min_above_max",
        "at least {least} replicas and at most {most} cannot both be; lower the one or raise the other",
        at=f"{at}/min_replicas",
        least=bounds.min_replicas,
        most=bounds.max_replicas,
    )


def _run_contradiction(run: RevisionSpec) -> Invalid | None:
    if run.resources.wall_time_s == _WALL_TIME_S:
        return None
    return Invalid(
        "wall_time_of_service",
        "a replica runs as long as it is wanted; leave `wall_time_s` out",
        at="/run/resources/wall_time_s",
    )


def _route_contradiction(project_id: str, route: RouteSpec) -> Invalid | None:
    for index, host in enumerate(route.hosts):
        if "." not in host or _is_address(host):
            return Invalid(
                "route_host_reserved",
                "{host} names the gateway itself; give a full host name of your own, as www.example.jp",
                at=f"/route/hosts/{index}",
                host=host,
            )
    path = route.path or "/"
    if {".", ".."} & set(path.split("/")):
        return Invalid(
            "route_path_dots",
            "the path {path} has a part that proxies resolve; write it without . and ..",
            at="/route/path",
            path=path,
        )
    own = f"/{project_id}"
    if route.path is not None and not route.hosts and not f"{path}/".startswith(f"{own}/"):
        return Invalid(
            "route_path_not_yours",
            "without `hosts` the path {path} is not yours; begin it with {own}/, or name a host of your own",
            at="/route/path",
            own=own,
            path=path,
        )
    if path.startswith(f"/{IdKind.PROJECT}_") and not f"{path}/".startswith(f"{own}/"):
        return Invalid(
            "route_path_of_project",
            "the path {path} is that of another project; begin it with something else",
            at="/route/path",
            path=path,
        )
    return None


def _rules_contradiction(spec: ServiceSpec) -> Invalid | None:
    if spec.rules.spread is None:
        return None
    return Invalid(
        "spread_of_service",
        "`spread` counts the tasks of one job, and each replica is a job of its own; leave it out",
        at="/rules/spread",
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

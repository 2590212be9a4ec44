"""Usage: what attempts used in a period, for a project, an organization, or every organization."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane
from kumoi.app.projects import project_authorized
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Invalid
from kumoi.model.jobs import DEVICE_MILLI
from kumoi.model.records import Page, Usage
from kumoi.model.time import US_PER_S, time_format, time_parse
from kumoi.store import usage
from kumoi.store.database import Connection
from kumoi.store.organizations import organization_list
from kumoi.store.usage import UsageSum

PERIOD_S_MAX = 400 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since_us` until just before `until_us`."""

    since_us: int
    until_us: int


async def project_usage_read(
    plane: Plane, actor: Actor, project_id: str, since: str | None, until: str | None
) -> Usage:
    """What a project used; in the current month (UTC) unless a period is given."""
    place = await project_authorized(plane, actor, Action.PROJECT_USAGE_READ, project_id)
    period = period_parse(since, until, plane.clock_us())
    total = await plane.store.read(usage.project_usage, project_id, period.since_us, period.until_us)
    return _usage(period, total, place.organization_id, project_id)


async def organization_usage_read(
    plane: Plane, actor: Actor, organization: str, since: str | None, until: str | None
) -> Usage:
    """What an organization used; in the current month (UTC) unless a period is given."""
    organization_id = await organization_authorized(
        plane, actor, Action.ORGANIZATION_USAGE_READ, organization
    )
    period = period_parse(since, until, plane.clock_us())
    found = await plane.store.read(
        usage.organization_usages, [organization_id], period.since_us, period.until_us
    )
    return _usage(period, found.get(organization_id, UsageSum()), organization_id, None)


async def platform_usage_read(
    plane: Plane, actor: Actor, since: str | None, until: str | None, limit: int, cursor: str | None
) -> Page[Usage]:
    """What each organization used, in the order of their ids, one page of organizations at a time."""
    await plane.authorize(actor, Action.PLATFORM_USAGE_READ, PLATFORM_TARGET)
    period = period_parse(since, until, plane.clock_us())
    listing = f"usage/{since or ''}/{until or ''}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(_organization_usages, period, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda row: str(row.organization))


def period_parse(since: str | None, until: str | None, now_us: int) -> Period:
    """The period between two RFC 3339 times; what is not given is an end of the current month (UTC)."""
    month = (_EPOCH + timedelta(microseconds=now_us)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    following = (month + timedelta(days=32)).replace(day=1)
    period = Period(
        _instant(since, "since") if since is not None else _us(month),
        _instant(until, "until") if until is not None else _us(following),
    )
    if period.since_us >= period.until_us:
        raise Invalid(
            "period_empty",
            "the period ends at {until}, before it begins at {since}; exchange them, or give both",
            at="until",
            since=time_format(period.since_us),
            until=time_format(period.until_us),
        )
    if period.until_us - period.since_us > PERIOD_S_MAX * US_PER_S:
        raise Invalid(
            "period_too_long",
            "a period has at most {days} days; ask for several",
            at="since",
            days=PERIOD_S_MAX // 86_400,
        )
    return period


def _instant(text: str, at: str) -> int:
    try:
        return time_parse(text)
    except ValueError:
        raise Invalid(
            "time_invalid",
            "{parameter} is not an RFC 3339 time with an offset; write it as 2026-01-31T09:00:00Z",
            at=at,
            parameter=at,
        ) from None


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _organization_usages(
    connection: Connection, period: Period, limit: int, after_id: str | None
) -> list[Usage]:
    organization_ids = [organization.id for organization in organization_list(connection, limit, after_id)]
    found = usage.organization_usages(connection, organization_ids, period.since_us, period.until_us)
    return [
        _usage(period, found.get(organization_id, UsageSum()), organization_id, None)
        for organization_id in organization_ids
    ]


def _usage(period: Period, total: UsageSum, organization_id: str, project_id: str | None) -> Usage:
    return Usage(
        organization=organization_id,
        project=project_id,
        since=time_format(period.since_us),
        until=time_format(period.until_us),
        attempts=total.attempts,
        wall_s=total.wall_us / US_PER_S,
        cpu_s=total.cpu_us / US_PER_S,
        cpu_milli_s=total.cpu_milli_us // US_PER_S,
        memory_byte_s=total.memory_byte_us // US_PER_S,
        device_s=total.device_milli_us / (DEVICE_MILLI * US_PER_S),
    )

"""Parameters of paths and queries: one name, one meaning, everywhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from kumoi.core.lifecycles import JOB
from kumoi.model.capacity import Day
from kumoi.model.errors import Invalid, NotFound
from kumoi.model.ids import Id, Name
from kumoi.model.jobs import ARRAY_SIZE_MAX
from kumoi.model.records import PAGE_MAX
from kumoi.model.services import SCALINGS_KEPT
from kumoi.model.shares import QuotaResource

PAGE_DEFAULT = 100
LOG_BYTES_MAX = 1 << 20
FILE_PATH_MAX = 1_024
_SHOWN_MAX = 100
_NAME = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_MODEL_NAME = "[A-Za-z0-9][A-Za-z0-9 ._+-]{0,126}[A-Za-z0-9+]"
_INDEX_MAX = ARRAY_SIZE_MAX - 1


def _id(kind: str) -> str:
    return f"{kind}_[0-9a-v]{{26}}"


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A part of a path. What cannot match is not found; where the path may create it, it is refused."""

    pattern: re.Pattern[str]
    meaning: str
    creates: bool = False


PATH_PARAMETERS: Mapping[str, PathParameter] = {
    name: PathParameter(re.compile(pattern), meaning, creates)
    for name, pattern, meaning, creates in (
        ("organization", f"{_id('org')}|{_NAME}", "identifier or name of an organization", False),
        ("project", _id("prj"), "identifier of a project", False),
        ("principal", _id("(?:usr|sa)"), "identifier of a user or service account", False),
        ("role_binding", _id("rb"), "identifier of a role binding", False),
        ("token", _id("tok"), "identifier of a token", False),
        ("pool", f"{_id('pool')}|{_NAME}", "identifier or name of a pool", False),
        ("host", f"{_id('host')}|{_NAME}", "identifier or name of a host", False),
        ("machine", f"{_id('mac')}|{_NAME}", "identifier or name of a machine", False),
        ("capacity_plan", _id("cap"), "identifier of a plan of capacity", False),
        ("plan", _id("plan"), "identifier of a plan of placement", False),
        ("device_model", _MODEL_NAME, "name of a device model", True),
        ("resource", "|".join(QuotaResource), "what a quota limits", False),
        ("reservation", _id("rsv"), "identifier of a reservation", False),
        ("access_request", _id("acc"), "identifier of a request for access", False),
        ("access_key", _id("ack"), "identifier of a key that approves access", False),
        ("access_rule", _id("acr"), "identifier of a rule that approves access", False),
        ("job", _id("job"), "identifier of a job", False),
        ("service", _id("svc"), "identifier of a service", False),
        ("replica", _id("rep"), "identifier of a replica", False),
        ("scaling", _id("scl"), "identifier of a decision of the autoscaler", False),
        ("notice_target", _id("ntt"), "identifier of a target of notices", False),
        ("event", _id("evt"), "identifier of an event", False),
        ("index", "0|[1-9][0-9]{0,3}", f"index of a task in its job, 0..{_INDEX_MAX}", False),
        ("name", _NAME, "name of a secret", True),
        (
            "path",
            rf"[^\x00-\x1f\x7f\ufffd]{{1,{FILE_PATH_MAX}}}",
            "path of a file in its project, relative, with forward slashes",
            True,
        ),
        ("tile", "[0-9a-z./]{1,100}", "path of a tile after C2SP tlog-tiles", False),
    )
}


def path_check(values: Mapping[str, str]) -> None:
    """Refuse parameters that cannot be what they stand for. Raises NotFound or Invalid."""
    for name, value in values.items():
        parameter = PATH_PARAMETERS[name]
        if parameter.pattern.fullmatch(value) is not None:
            continue
        if parameter.creates:
            raise Invalid(
                "path_invalid",
                "{value} cannot stand in this path; it must match {pattern}",
                at=name,
                value=repr(value[:_SHOWN_MAX]),
                pattern=parameter.pattern.pattern,
            )
        raise NotFound(
            "not_found",
            "there is no {name}, or you may not see it; check the name",
            name=repr(value[:_SHOWN_MAX]),
        )


Cursor = Annotated[
    str, Meta(min_length=1, max_length=1_024, description="`next` of the page before; absent for the first")
]
Instant = Annotated[str, Meta(min_length=1, max_length=40, description="RFC 3339 time with an offset")]
JobState = Annotated[str, Meta(max_length=32, extra_json_schema={"enum": list(JOB.states)})]


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class PageQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A bounded part of a list."""

    limit: Annotated[int, Meta(ge=1, le=PAGE_MAX, description="items in the page at most")] = PAGE_DEFAULT
    cursor: Cursor | None = None


class TokenListQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Tokens of the caller, or of `principal` where the caller administers it."""

    principal: Id | None = None


class HostListQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Hosts, of one pool where `pool` is given."""

    pool: Id | None = None


class CapacityQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A period of days in Japan, both included: by default the fiscal year."""

    since: Annotated[Day | None, Meta(description="first day")] = field(default=None, name="from")
    until: Annotated[Day | None, Meta(description="last day")] = field(default=None, name="to")
    count_from: Annotated[
        Day | None, Meta(description="first start of service that counts for the second criterion")
    ] = None


class JobListQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Jobs, in one state where `state` is given; the replicas of a service where `service` is."""

    state: JobState | None = None
    service: Id | None = None


class ServiceListQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Services, the one of a name where `name` is given."""

    name: Name | None = None


class ServiceWhyQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The last `limit` decisions."""

    limit: Annotated[int, Meta(ge=1, le=SCALINGS_KEPT, description="decisions at most")] = PAGE_DEFAULT


class FileListQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Files, only those whose path begins with `prefix`."""

    prefix: Annotated[str, Meta(max_length=FILE_PATH_MAX, description="how the paths begin")] = ""


class LogQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of what a task wrote, of its last attempt where `attempt` is absent."""

    stream: Literal["stdout", "stderr"] = "stdout"
    attempt: Annotated[int, Meta(ge=1, le=1_000, description="number of the attempt")] | None = None
    offset: Annotated[int, Meta(ge=0, le=1 << 62, description="first byte wanted")] = 0
    limit: Annotated[int, Meta(ge=1, le=LOG_BYTES_MAX, description="bytes at most")] = LOG_BYTES_MAX


class UsageQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A period: from `since` (the start of this month) to before `until` (now)."""

    since: Instant | None = None
    until: Instant | None = None


class UsageListQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """A period, in pages of organizations."""

    since: Instant | None = None
    until: Instant | None = None

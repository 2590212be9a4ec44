"""How a service is shown: what stands in its way first, then what there is."""

from collections.abc import Iterator, Sequence

from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.service_chart import bar_lines
from kumoi.cli.states import state_show
from kumoi.cli.text import text_clean, text_pad
from kumoi.model.services import Replica, ScaleStep, Service

REASON_MAX = 40
_ONLY_LISTED = ("asked_at", "ready_at", "job")
"""What `kumoi service replicas` has room for, beside the picture of a service not."""


def reason_shorten(reason: str) -> str:
    """The beginning of a reason: the condition of the service says the last one whole."""
    return reason if len(reason) <= REASON_MAX else reason[: REASON_MAX - 1].rstrip() + "…"


REPLICA_COLUMNS = (
    Column("id", "ID", whole=True),
    Column("revision", "REVISION"),
    Column("state", "STATE", state_show),
    Column("busy", "BUSY"),
    Column("asked_at", "ASKED"),
    Column("ready_at", "READY"),
    Column("reason", "REASON", reason_shorten),
    Column("job", "JOB"),
)
REPLICAS_SHOWN_COLUMNS = tuple(one for one in REPLICA_COLUMNS if one.name not in _ONLY_LISTED)
REPLICAS_DRAWN = 12


def service_lines(service: Service, last: ScaleStep | None, width: int) -> Iterator[str]:
    """What people should know of the service, what to do first."""
    for condition in service.conditions:
        yield text_clean(f"! {condition.text}")
    yield _("{name} is {state}: revision {revision}, rollout {rollout}").format(
        name=service.name,
        state=state_show(service.state),
        revision=service.revision or _("none"),
        rollout=rollout_show(service.rollout),
    )
    for host in service.spec.route.hosts or ("",):
        yield f"  {host}{service.url_path}"
    if service.spec.scale.pin is not None:
        text = _("pinned to {replicas}; let it follow the demand again with: kumoi service unpin")
        yield "  " + text.format(replicas=service.spec.scale.pin)
    yield from bar_lines(service, last, width)


def rollout_show(rollout: str) -> str:
    """How far a rollout is, as prose has it."""
    return _("under way") if rollout == "rolling" else state_show(rollout)


def replica_lines(replicas: Sequence[Replica]) -> Iterator[str]:
    """The newest replicas, one on each line, for a picture that is drawn again and again."""
    for replica in replicas[:REPLICAS_DRAWN]:
        reason = f"  {reason_shorten(replica.reason)}" if replica.reason else ""
        state = text_pad(state_show(replica.state), 10)
        yield text_clean(f"  {replica.id}  {replica.revision:>4}  {state}{replica.busy:>5}{reason}")
    if len(replicas) > REPLICAS_DRAWN:
        yield _("  and {count} more").format(count=len(replicas) - REPLICAS_DRAWN)

"""How a service is shown: what stands in its way first, then what there is."""

from collections.abc import Iterator, Sequence

from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.service_chart import bar_lines
from kumoi.cli.text import text_clean
from kumoi.model.services import Replica, ScaleStep, Service

REPLICA_COLUMNS = (
    Column("id", "ID"),
    Column("revision", "REVISION"),
    Column("state", "STATE"),
    Column("busy", "BUSY"),
    Column("asked_at", "ASKED"),
    Column("ready_at", "READY"),
    Column("reason", "REASON"),
    Column("job", "JOB"),
)
REPLICAS_DRAWN = 12


def service_lines(service: Service, last: ScaleStep | None, width: int) -> Iterator[str]:
    """What people should know of the service, what to do first."""
    for condition in service.conditions:
        yield text_clean(f"! {condition.text}")
    yield _("{name} is {state}: revision {revision}, rollout {rollout}").format(
        name=service.name,
        state=service.state,
        revision=service.revision or "-",
        rollout=service.rollout,
    )
    for host in service.spec.route.hosts or ("",):
        yield f"  {host}{service.url_path}"
    if service.spec.scale.pin is not None:
        text = _("pinned to {replicas}; let it follow the demand again with: kumoi service unpin")
        yield "  " + text.format(replicas=service.spec.scale.pin)
    yield from bar_lines(service, last, width)


def replica_lines(replicas: Sequence[Replica]) -> Iterator[str]:
    """The newest replicas, one on each line, for a picture that is drawn again and again."""
    for replica in replicas[:REPLICAS_DRAWN]:
        reason = f"  {replica.reason}" if replica.reason else ""
        yield text_clean(
            f"  {replica.id}  {replica.revision:>4}  {replica.state:<9}{replica.busy:>6}{reason}"
        )
    if len(replicas) > REPLICAS_DRAWN:
        yield _("  and {count} more").format(count=len(replicas) - REPLICAS_DRAWN)

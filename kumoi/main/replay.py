"""`kumoi replay`: recompute a recorded decision from what it was decided on, on this machine alone."""

from pathlib import Path

import click
import msgspec

from kumoi.cli.command import Command, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.session import Session, pass_session
from kumoi.core.placement.snapshot import Placed, Plan, Refused, ReplayError, inputs_unpack
from kumoi.main.replay_scaling import ReplayedScaling, scaling_replay
from kumoi.model.plans import PlanRecord
from kumoi.model.scalings import ScalingRecord
from kumoi.model.time import time_format

RECORD_BYTES_MAX = 1 << 30


class Replayed(msgspec.Struct, frozen=True):
    """What became of a replay."""

    plan: str
    policy: str
    placed: int
    refused: int
    snapshot_digest: str
    same: bool
    differences: tuple[str, ...]


class _Named(msgspec.Struct, frozen=True):
    id: str


class _Body(msgspec.Struct, frozen=True):
    placed: tuple[Placed, ...]
    refused: tuple[Refused, ...]


@click.command("replay", cls=Command)
@click.argument("decision", metavar="PLAN|SCALING|FILE")
@option("--save", type=click.Path(path_type=Path), help="Keep the decision's record in this file.")
@pass_session
def replay(session: Session, decision: str, save: Path | None) -> None:
    """Decide again what was recorded, and compare: a plan of placement, or a number of replicas.

    PLAN (operators and auditors may) and SCALING (see `kumoi service why`) are fetched from the plane; FILE
    was saved before and needs no plane.
    """
    record = _record(session, decision)
    if save is not None:
        save.write_bytes(msgspec.json.encode(record))
    try:
        result = scaling_replay(record) if isinstance(record, ScalingRecord) else record_replay(record)
    except (ValueError, msgspec.MsgspecError, ReplayError) as error:
        raise fail(
            Exit.VERIFICATION_FAILED,
            _("{plan} cannot be decided again: {reason}").format(plan=record.id, reason=error),
        ) from error
    if session.out.json_output:
        session.out.document(result)
    else:
        _show(session, result)
    if not result.same:
        click.get_current_context().exit(Exit.VERIFICATION_FAILED)


def _record(session: Session, decision: str) -> PlanRecord | ScalingRecord:
    file = Path(decision)
    if file.is_file():
        return _record_read(file)
    if decision.startswith("plan_"):
        return session.client.plans.get(decision)
    if decision.startswith("scl_"):
        return session.client.scalings.get(decision)
    raise fail(Exit.USAGE, _("there is no file {file}, and no decision has such an id").format(file=decision))


def record_replay(record: PlanRecord) -> Replayed:
    """Recompute the plan of a record. Raises ReplayError where its inputs are incomplete."""
    # Not at the top: NumPy is needed for this alone.
    from kumoi.core.placement.replay import replay as recompute

    said = msgspec.json.decode(record.body, type=_Body)
    again, digest = recompute(inputs_unpack(packed) for packed in record.inputs)
    differences = tuple(_differences(record, digest, said, again))
    return Replayed(
        plan=record.id,
        policy=again.policy,
        placed=len(again.placed),
        refused=len(again.refused),
        snapshot_digest=digest,
        same=not differences,
        differences=differences,
    )


def _differences(record: PlanRecord, digest: str, said: _Body, again: Plan) -> list[str]:
    found = []
    header = (again.policy, again.seed, time_format(again.decided_us))
    if header != (record.policy, record.seed, record.decided_at):
        found.append(_("the policy, seed or time are not those of the inputs"))
    if digest != record.snapshot_digest:
        found.append(_("the inputs are not those that the plan names (digest)"))
    if again.placed != said.placed:
        found.append(_("other placements"))
    if again.refused != said.refused:
        found.append(_("other refusals"))
    return found


def _record_read(file: Path) -> PlanRecord | ScalingRecord:
    if file.stat().st_size > RECORD_BYTES_MAX:
        raise fail(Exit.USAGE, _("{file} is too large for a decision's record").format(file=file))
    content = file.read_bytes()
    try:
        if msgspec.json.decode(content, type=_Named).id.startswith("scl_"):
            return msgspec.json.decode(content, type=ScalingRecord)
        return msgspec.json.decode(content, type=PlanRecord)
    except msgspec.MsgspecError as error:
        raise fail(
            Exit.USAGE,
            _("{file} is no record of a decision: {reason}").format(file=file, reason=error),
            _("kumoi replay PLAN --save FILE writes one"),
        ) from error


def _show(session: Session, result: Replayed | ReplayedScaling) -> None:
    if isinstance(result, ReplayedScaling):
        facts = _("{scaling} ({policy}): {wanted} replicas, inputs {digest}").format(
            scaling=result.scaling, policy=result.policy, wanted=result.wanted, digest=result.digest[:16]
        )
    else:
        facts = _("{plan} ({policy}): {placed} placed, {refused} refused, inputs {digest}").format(
            plan=result.plan,
            policy=result.policy,
            placed=result.placed,
            refused=result.refused,
            digest=result.snapshot_digest[:16],
        )
    session.out.line(facts)
    if result.same:
        session.out.line(_("decided again, it is the same"))
    for difference in result.differences:
        session.out.line(_("NOT the same: {difference}").format(difference=difference))

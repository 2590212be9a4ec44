"""`kumoi replay`: recompute a recorded plan from what it was decided on, on this machine alone."""

from pathlib import Path

import click
import msgspec

from kumoi.cli.command import Command, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.session import Session, pass_session
from kumoi.core.placement.snapshot import Placed, Plan, Refused, ReplayError, inputs_unpack
from kumoi.model.plans import PlanRecord
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


class _Body(msgspec.Struct, frozen=True):
    placed: tuple[Placed, ...]
    refused: tuple[Refused, ...]


@click.command("replay", cls=Command)
@click.argument("plan", metavar="PLAN|FILE")
@option("--save", type=click.Path(path_type=Path), help="Keep the plan's record in this file.")
@pass_session
def replay(session: Session, plan: str, save: Path | None) -> None:
    """Decide a recorded plan again, and compare.

    PLAN is fetched from the plane (operators and auditors may); FILE was saved before and needs no plane.
    """
    file = Path(plan)
    if not file.is_file() and not plan.startswith("plan_"):
        raise fail(Exit.USAGE, _("there is no file {file}, and no plan has such an id").format(file=plan))
    record = _record_read(file) if file.is_file() else session.client.plans.get(plan)
    if save is not None:
        save.write_bytes(msgspec.json.encode(record))
    try:
        result = record_replay(record)
    except (ValueError, ReplayError) as error:
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


def _record_read(file: Path) -> PlanRecord:
    if file.stat().st_size > RECORD_BYTES_MAX:
        raise fail(Exit.USAGE, _("{file} is too large for a plan's record").format(file=file))
    try:
        return msgspec.json.decode(file.read_bytes(), type=PlanRecord)
    except msgspec.MsgspecError as error:
        raise fail(
            Exit.USAGE,
            _("{file} is no record of a plan: {reason}").format(file=file, reason=error),
            _("kumoi replay PLAN --save FILE writes one"),
        ) from error


def _show(session: Session, result: Replayed) -> None:
    facts = _("{plan} ({policy}): {placed} placed, {refused} refused, inputs {digest}")
    session.out.line(
        facts.format(
            plan=result.plan,
            policy=result.policy,
            placed=result.placed,
            refused=result.refused,
            digest=result.snapshot_digest[:16],
        )
    )
    if result.same:
        session.out.line(_("decided again, the plan is the same"))
    for difference in result.differences:
        session.out.line(_("NOT the same: {difference}").format(difference=difference))

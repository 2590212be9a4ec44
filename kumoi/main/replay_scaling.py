"""What `kumoi replay` does with a decision of the autoscaler."""

import msgspec

from kumoi.cli.language import _
from kumoi.core.autoscale.decide import decide
from kumoi.core.autoscale.inputs import inputs_digest, inputs_unpack
from kumoi.model.scalings import ScalingRecord


class ReplayedScaling(msgspec.Struct, frozen=True):
    """What became of a replay."""

    scaling: str
    service: str
    policy: str
    wanted: int
    reason: str
    digest: str
    same: bool
    differences: tuple[str, ...]


class _Reason(msgspec.Struct, frozen=True):
    code: str
    figures: dict[str, float]


def scaling_replay(record: ScalingRecord) -> ReplayedScaling:
    """Decide again from a record alone. ValueError where its inputs cannot be read."""
    inputs = inputs_unpack(record.inputs)
    again = decide(inputs.rules, inputs.state, inputs.seen)
    digest = inputs_digest(inputs)
    said = msgspec.json.decode(record.reason, type=_Reason)
    differences = []
    if digest != record.digest:
        differences.append(_("the inputs are not those that the decision names (digest)"))
    if again.wanted != record.wanted:
        differences.append(_("another number of replicas"))
    if (again.reason, dict(again.figures)) != (said.code, said.figures):
        differences.append(_("another reason"))
    return ReplayedScaling(
        scaling=record.id,
        service=record.service,
        policy=inputs.rules.policy,
        wanted=again.wanted,
        reason=again.reason,
        digest=digest,
        same=not differences,
        differences=tuple(differences),
    )

"""What people are told of a service's rollout: codes with parameters, and their sentences to translate."""

from dataclasses import dataclass

CONDITIONS = {
    "gateway_starting": "the gateway is starting; replicas can be ready once it answers",
    "gateway_silent": "the gateway is not heard: replicas stay as they are until it answers; "
    "see that `kumoi gateway` runs",
    "rollout_paused": "the rollout of revision {revision} is paused; "
    "`kumoi service rollout resume` goes on with it",
    "revision_failing": "replicas of revision {revision} cannot stand (failures in a row: {failures}), "
    "lastly: {why}",
    "revision_failed": "revision {revision} was given up: {why}",
    "nothing_serves": "no revision can serve; update the service, "
    "or try one again with `kumoi service rollout undo`",
    "slow_start": "running and not ready yet: {replicas} of the replicas, {why}; does your program listen on "
    "another port than {port}? A replica that does not answer its readiness check is given up after "
    "{timeout_s} s",
    "waiting_for_capacity": "waiting to be placed: {replicas} of the replicas; "
    "`kumoi job why {job}` says for what",
    "not_alive": "answering but failing their liveness check: {replicas} of the replicas ({why}); "
    "they serve until others are ready",
}
"""What people are told, by code; names in braces are parameters."""

ADVICE = {
    "replica": "`kumoi service logs {service} --replica {replica}` shows what it wrote; "
    "then update the service",
    "never_ran": "it wrote nothing: see that name and digest of its image, its registry and its command are "
    "right, then update the service",
    "retry_at": "the next try is at {retry_at}",
}
"""What is said after a condition that has the parameter, in this order."""


@dataclass(frozen=True, slots=True)
class ConditionView:
    """A code of `CONDITIONS` with its parameters, by name."""

    code: str
    params: tuple[tuple[str, str], ...] = ()

"""What a task does after an attempt ended."""

from dataclasses import dataclass

from kumoi.model.jobs import AttemptOutcome, RetryPolicy, RetryReason

START_TRIES_MAX = 10
"""How often a task that never started is placed: that is the plane's affair, not the job's."""
START_DELAY_MAX_S = 256

_REASONS = {
    AttemptOutcome.EXITED: RetryReason.EXIT_CODE,
    AttemptOutcome.SIGNALLED: RetryReason.EXIT_CODE,
    AttemptOutcome.MEMORY: RetryReason.EXIT_CODE,
    AttemptOutcome.TIMEOUT: RetryReason.TIMEOUT,
    AttemptOutcome.HOST_LOST: RetryReason.HOST_LOST,
    AttemptOutcome.LEASE_LOST: RetryReason.HOST_LOST,
}


@dataclass(frozen=True, slots=True)
class TaskNext:
    """The task's next state and, unless it succeeded, why."""

    state: str
    reason: str | None
    delay_s: int = 0
    """How long it waits before it may be placed again."""


def decide_next(
    policy: RetryPolicy,
    attempt_number: int,
    outcome: AttemptOutcome,
    exit_code: int | None,
    *,
    start_failures: int = 0,
) -> TaskNext:
    """The state that follows attempt `attempt_number` (1 is the first).

    `start_failures` of the attempts before it never started: those are not the job's tries. A failed start
    is tried again later and later, so that a host that cannot start anything does not fail its queue. A
    preempted task always waits for another turn: it was the plane that ended it.
    """
    if outcome is AttemptOutcome.EXITED and exit_code == 0:
        return TaskNext("succeeded", None)
    if outcome is AttemptOutcome.CANCELLED:
        return TaskNext("cancelled", "cancelled")
    text = f"exit code {exit_code}" if outcome is AttemptOutcome.EXITED else outcome.value
    if outcome is AttemptOutcome.PREEMPTED:
        return TaskNext("queued", text)
    if outcome is AttemptOutcome.START_FAILED:
        if start_failures + 1 >= START_TRIES_MAX:
            return TaskNext("failed", text)
        return TaskNext("queued", text, min(2**start_failures, START_DELAY_MAX_S))
    tries = attempt_number - start_failures
    retry = tries <= policy.limit and _matches(policy, outcome, exit_code)
    return TaskNext("queued" if retry else "failed", text)


def _matches(policy: RetryPolicy, outcome: AttemptOutcome, exit_code: int | None) -> bool:
    if _REASONS[outcome] not in policy.on:
        return False
    return outcome is not AttemptOutcome.EXITED or not policy.exit_codes or exit_code in policy.exit_codes

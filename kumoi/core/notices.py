"""Notices: what each says, which sendings are tried now, and when one is tried again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kumoi.model.notices import NoticeKind
from kumoi.model.time import US_PER_S

SLOTS = 32
"""Tries under way at a time."""
SLOTS_DOUBTFUL = 8
"""Of these for receivers that failed before."""
SLOTS_ORGANIZATION = 4
RETRY_FIRST_S = 5
RETRY_MAX_S = 3_600
GIVE_UP_S = 3 * 86_400
TRIES_MIN = 12
"""Nothing is given up before: what waited for its key, or for a plane, gets more than its first try then."""
KEY_WAIT_S = 60
"""How long what waits for its organization's key waits before it is looked at again."""
_DOUBLINGS_MAX = 12

TITLES: Mapping[str, str] = {
    NoticeKind.ACCESS_REQUEST: "An operator asks for access",
    NoticeKind.ACCESS_APPROVE: "Access was approved",
    NoticeKind.ACCESS_DENY: "Access was denied",
    NoticeKind.ACCESS_REVOKE: "Access was revoked",
    NoticeKind.BREAK_GLASS: "Operators broke the glass",
    NoticeKind.BREAK_GLASS_UNEXPLAINED: "A broken glass was not explained",
    NoticeKind.WITNESS_FAIL: "A witness of the log fails",
    NoticeKind.WITNESS_RETURN: "A witness of the log is back",
    NoticeKind.LOG_GAP_BEGIN: "The operations log has a gap",
    NoticeKind.LOG_GAP_END: "The operations log goes on",
    NoticeKind.TRIAL: "Trial",
}
TEXTS: Mapping[str, str] = {
    NoticeKind.ACCESS_REQUEST: (
        "An operator of the provider asks for access to what is yours. It gets none before you approve."
    ),
    NoticeKind.ACCESS_APPROVE: (
        "Access of an operator of the provider to what is yours was approved, for a limited time. "
        "You can revoke it at any time."
    ),
    NoticeKind.ACCESS_DENY: "What an operator of the provider asked for was denied. It gets no access.",
    NoticeKind.ACCESS_REVOKE: "Access of an operator of the provider to what is yours was revoked.",
    NoticeKind.BREAK_GLASS: (
        "Two operators of the provider took access to what is yours without your approval, "
        "as in an emergency. They must explain it in time."
    ),
    NoticeKind.BREAK_GLASS_UNEXPLAINED: (
        "Operators of the provider took access to what is yours without your approval, "
        "and did not explain it in time. This is an incident."
    ),
    NoticeKind.WITNESS_FAIL: "The witness {witness} of the operations log does not cosign any more.",
    NoticeKind.WITNESS_RETURN: "The witness {witness} of the operations log cosigns again.",
    NoticeKind.LOG_GAP_BEGIN: (
        "The operations log does not get on. What happens is recorded, "
        "and can be proven only when the log gets on again."
    ),
    NoticeKind.LOG_GAP_END: "The operations log gets on again. What was recorded meanwhile can be proven.",
    NoticeKind.TRIAL: "This is a trial. Notices reach you here.",
}
"""What a notice says, filled with the public parts of its event; and with nothing else of it."""
PUBLIC: Mapping[str, tuple[str, ...]] = {
    NoticeKind.WITNESS_FAIL: ("witness",),
    NoticeKind.WITNESS_RETURN: ("witness",),
    NoticeKind.LOG_GAP_BEGIN: ("gap",),
    NoticeKind.LOG_GAP_END: ("gap",),
}
"""What of an event's detail everybody may read."""
OWN: Mapping[str, tuple[str, ...]] = {
    NoticeKind.ACCESS_REQUEST: ("reason",),
    NoticeKind.BREAK_GLASS: ("reason",),
}
"""What of it is for the organization alone that the event is of."""


@dataclass(frozen=True, slots=True)
class Due:
    """A sending that may be tried: `is_doubtful` where its target failed before."""

    id: str
    target_id: str
    organization_id: str
    is_doubtful: bool


def sendings_choose(due: Sequence[Due], under_way: Sequence[Due]) -> list[Due]:
    """Which of `due` to begin, in their order: one of a target at a time, a few of an organization.

    Receivers that failed before share a part of the slots, so that slow ones keep only each other waiting.
    """
    targets = {one.target_id for one in under_way}
    organizations = Counter(one.organization_id for one in under_way)
    doubtful = sum(one.is_doubtful for one in under_way)
    free = SLOTS - len(under_way)
    chosen: list[Due] = []
    for one in due:
        if len(chosen) >= free:
            break
        if (
            one.target_id in targets
            or organizations[one.organization_id] >= SLOTS_ORGANIZATION
            or (one.is_doubtful and doubtful >= SLOTS_DOUBTFUL)
        ):
            continue
        chosen.append(one)
        targets.add(one.target_id)
        organizations[one.organization_id] += 1
        doubtful += one.is_doubtful
    return chosen


def retry_decide(kind: NoticeKind, tries: int, created_us: int, now_us: int, jitter_ppm: int) -> int | None:
    """When to try again after `tries` failed, in microseconds; None to give up. A trial is tried once.

    Others are given up when they are old and were tried often. The wait doubles up to an hour; `jitter_ppm`
    (0..999,999) takes up to half of it away.
    """
    is_old = now_us - created_us >= GIVE_UP_S * US_PER_S
    if kind is NoticeKind.TRIAL or (is_old and tries >= TRIES_MIN):
        return None
    wait_s = min(RETRY_FIRST_S << min(tries - 1, _DOUBLINGS_MAX), RETRY_MAX_S)
    return now_us + wait_s * US_PER_S - wait_s * jitter_ppm // 2


def details_public(kind: NoticeKind, detail: Mapping[str, object]) -> dict[str, str]:
    """The parts of an event's detail that everybody may read, as text."""
    return {name: str(detail.get(name, "")) for name in PUBLIC.get(kind, ())}


def details_own(kind: NoticeKind, detail: Mapping[str, object]) -> dict[str, str]:
    """The parts that only the event's organization may read, as text."""
    return {name: str(detail[name]) for name in OWN.get(kind, ()) if name in detail}

"""Shares: quotas, weights, and what organizations hold and lately held.

A quota's `used` moves in the transaction that places or ends work, by an update that refuses to pass `most`;
it is audited against the sum over live attempts. Without a quota of a resource there is no row of it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, delete, func, insert, select, update

from kumoi.core.queue.fairness import NOTHING, Amounts, dominant_share, usage_decay
from kumoi.core.queue.standing import Standing
from kumoi.model.jobs import DEVICE_MILLI
from kumoi.model.places import DeviceHealth
from kumoi.model.shares import FairShare, Quota, QuotaResource
from kumoi.model.time import US_PER_S
from kumoi.store.budgets import budgets_left
from kumoi.store.locks import rows_lock
from kumoi.store.schema import (
    AnyRow,
    attempt_devices,
    attempts,
    devices,
    fair_shares,
    hosts,
    is_false,
    is_live,
    key_holders,
    organizations,
    pool_uses,
    quotas,
)

Charges = Mapping[tuple[str, QuotaResource], int]
IDS_PER_QUERY = 500
_USAGE_FORGOTTEN_S = 1.0
"""Share-seconds below which past use counts nothing."""

_QUOTAS_OF = select(quotas).where(quotas.c.organization_id.in_(bindparam("ids", expanding=True)))
_CHARGE = (
    update(quotas)
    .where(
        quotas.c.organization_id == bindparam("of_organization"),
        quotas.c.resource == bindparam("of_resource"),
        quotas.c.used + bindparam("amount") <= quotas.c.most,
    )
    .values(used=quotas.c.used + bindparam("amount"))
)
_RELEASE = (
    update(quotas)
    .where(
        quotas.c.organization_id == bindparam("of_organization"),
        quotas.c.resource == bindparam("of_resource"),
    )
    .values(used=case((quotas.c.used > bindparam("amount"), quotas.c.used - bindparam("amount")), else_=0))
)
_WEIGHTS = select(fair_shares.c.organization_id, fair_shares.c.weight).where(
    fair_shares.c.organization_id.in_(bindparam("ids", expanding=True))
)
_USES_OF = select(pool_uses).where(
    pool_uses.c.pool_id == bindparam("of_pool"),
    pool_uses.c.organization_id.in_(bindparam("ids", expanding=True)),
)


@dataclass(frozen=True, slots=True)
class QuotaDrift:
    """A quota whose `used` is not what live attempts hold: a defect."""

    organization_id: str
    resource: QuotaResource
    used: int
    held: int


@dataclass(frozen=True, slots=True)
class PoolShare:
    """The dominant share of a pool that an organization holds."""

    pool_id: str
    organization_id: str
    share: float


def quotas_charge(connection: Connection, charges: Charges) -> set[str]:
    """Count what is about to be held; returns the organizations whose quotas would be passed.

    Of these nothing is counted: an organization's amounts are counted all or none. Costs one read where the
    organizations have no quotas. Call it in the transaction that writes the attempts.
    """
    limited = _limited(connection, charges)
    refused: set[str] = set()
    counted: list[tuple[str, QuotaResource]] = []
    for key in limited:
        organization_id, _ = key
        if organization_id in refused:
            continue
        if connection.execute(_CHARGE, _amount(key, charges[key])).rowcount == 1:
            counted.append(key)
        else:
            refused.add(organization_id)
    undone = [_amount(key, charges[key]) for key in counted if key[0] in refused]
    if undone:
        connection.execute(_RELEASE, undone)
    return refused


def quota_charges(held: Mapping[str, Amounts]) -> Charges:
    """What organizations hold or want, as charges of their quotas."""
    return {
        (name, resource): _of_resource(amounts, resource)
        for name, amounts in held.items()
        for resource in QuotaResource
    }


def quotas_release(connection: Connection, charges: Charges) -> None:
    """Count what is not held any more, in the transaction that ends the attempts.

    No end fails because a quota says too little: it says nothing is held then, until it is audited.
    """
    released = [_amount(key, charges[key]) for key in _limited(connection, charges)]
    if released:
        connection.execute(_RELEASE, released)


def quotas_audit(connection: Connection) -> list[QuotaDrift]:
    """Find, mend and return the quotas that do not say what live attempts hold.

    The rows are locked first, so whoever charges them meanwhile comes before or after.
    """
    in_order = select(quotas).order_by(*quotas.primary_key.columns).with_for_update(key_share=True)
    rows = connection.execute(in_order).all()
    held = organizations_held(connection, {row.organization_id for row in rows}) if rows else {}
    drifts = []
    for row in rows:
        resource = QuotaResource(row.resource)
        amount = _of_resource(held.get(row.organization_id, NOTHING), resource)
        if amount != row.used:
            drifts.append(QuotaDrift(row.organization_id, resource, row.used, amount))
            values = _amount((row.organization_id, resource), row.used - amount)
            connection.execute(_RELEASE, values)
    return drifts


def organizations_held(connection: Connection, organization_ids: Collection[str]) -> dict[str, Amounts]:
    """What the live attempts of each organization hold, in all pools. Who holds nothing is left out."""
    found: dict[str, Amounts] = {}
    for (_, organization_id), amounts in _held_by_pool(connection, organization_ids).items():
        found[organization_id] = found.get(organization_id, NOTHING).plus(amounts)
    return found


def quota_list(connection: Connection, organization_id: str) -> list[Quota]:
    """The quotas of an organization, one for each limited resource."""
    rows = connection.execute(_QUOTAS_OF.order_by(quotas.c.resource), {"ids": [organization_id]})
    return [quota_from_row(row) for row in rows]


def quota_get(connection: Connection, organization_id: str, resource: QuotaResource) -> Quota | None:
    """The quota of a resource, None where there is no limit."""
    statement = select(quotas).where(
        quotas.c.organization_id == organization_id, quotas.c.resource == resource.value
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else quota_from_row(row)


def quota_put(
    connection: Connection, organization_id: str, resource: QuotaResource, most: int, now_us: int
) -> Quota:
    """Write a quota. A new one starts with what live attempts hold in this very transaction.

    It waits for the transactions that count what the organization holds, and those that come after count it.
    """
    rows_lock(connection, organizations, organizations.c.id == organization_id)
    where = quotas.c.organization_id == organization_id, quotas.c.resource == resource.value
    changed = connection.execute(
        update(quotas).where(*where).values(most=most, updated_us=now_us, version=quotas.c.version + 1)
    ).rowcount
    if not changed:
        held = organizations_held(connection, {organization_id}).get(organization_id, NOTHING)
        row = {
            "organization_id": organization_id,
            "resource": resource.value,
            "most": most,
            "used": _of_resource(held, resource),
            "updated_us": now_us,
        }
        connection.execute(insert(quotas).values(row))
    return quota_from_row(connection.execute(select(quotas).where(*where)).one())


def quota_drop(connection: Connection, organization_id: str, resource: QuotaResource) -> None:
    """Lift a quota."""
    connection.execute(
        delete(quotas).where(quotas.c.organization_id == organization_id, quotas.c.resource == resource.value)
    )


def quota_from_row(row: AnyRow) -> Quota:
    """The quota as the organization sees it."""
    return Quota(row.organization_id, QuotaResource(row.resource), row.most, row.used, row.version)


def fair_share_get(connection: Connection, organization_id: str) -> FairShare:
    """The weight of an organization: 1 where none was written (version 0)."""
    statement = select(fair_shares).where(fair_shares.c.organization_id == organization_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return FairShare(organization_id, 1, 0)
    return FairShare(organization_id, row.weight, row.version)


def fair_share_put(connection: Connection, organization_id: str, weight: int, now_us: int) -> FairShare:
    """Write the weight of an organization."""
    where = fair_shares.c.organization_id == organization_id
    values = {"weight": weight, "updated_us": now_us}
    changed = connection.execute(
        update(fair_shares).where(where).values(**values, version=fair_shares.c.version + 1)
    ).rowcount
    if not changed:
        connection.execute(insert(fair_shares).values(organization_id=organization_id, **values))
    return fair_share_get(connection, organization_id)


_KEYS_WITHDRAWN = select(key_holders.c.id).where(
    key_holders.c.state != "held", key_holders.c.id.in_(bindparam("ids", expanding=True))
)


def standings_load(
    connection: Connection, pool_id: str, organization_ids: Iterable[str], now_us: int
) -> dict[str, Standing]:
    """How the organizations stand in a pool, for `core.queue.order`. Each gets a standing."""
    names = sorted(set(organization_ids))
    found: dict[str, Standing] = {}
    for start in range(0, len(names), IDS_PER_QUERY):
        ids = names[start : start + IDS_PER_QUERY]
        weights = {row.organization_id: row.weight for row in connection.execute(_WEIGHTS, {"ids": ids})}
        usages = {
            row.organization_id: usage_decay(row.usage_s, row.share, (now_us - row.at_us) / US_PER_S)
            for row in connection.execute(_USES_OF, {"of_pool": pool_id, "ids": ids})
        }
        left: dict[tuple[str, str], int] = {
            (row.organization_id, row.resource): row.most - row.used
            for row in connection.execute(_QUOTAS_OF, {"ids": ids})
        }
        money = budgets_left(connection, ids, now_us)
        withdrawn = set(connection.execute(_KEYS_WITHDRAWN, {"ids": ids}).scalars())
        for name in ids:
            found[name] = Standing(
                weight=weights.get(name, 1),
                usage_s=usages.get(name, 0.0),
                quota_left=(
                    left.get((name, QuotaResource.CPU_MILLI)),
                    left.get((name, QuotaResource.MEMORY_BYTES)),
                    left.get((name, QuotaResource.DISK_BYTES)),
                    left.get((name, QuotaResource.DEVICE_MILLI)),
                    left.get((name, QuotaResource.TASKS)),
                ),
                budget_left_microyen=money.get(name),
                key_withdrawn=name in withdrawn,
            )
    return found


def pool_shares_read(connection: Connection) -> list[PoolShare]:
    """The dominant shares that organizations hold now, of every pool."""
    capacities = _capacities(connection)
    return [
        PoolShare(pool_id, organization_id, dominant_share(amounts, capacities.get(pool_id, NOTHING)))
        for (pool_id, organization_id), amounts in sorted(_held_by_pool(connection, None).items())
    ]


def pool_uses_due(connection: Connection, before_us: int) -> bool:
    """Whether anything is held, or was when past use was reckoned last, which was not after `before_us`."""
    held = connection.execute(select(func.max(pool_uses.c.at_us)).where(pool_uses.c.share > 0)).scalar()
    if held is not None:
        return bool(held <= before_us)
    return connection.execute(select(attempts.c.id).where(is_live()).limit(1)).first() is not None


def pool_uses_advance(connection: Connection, shares: Sequence[PoolShare], now_us: int) -> None:
    """Reckon past use up to now, and remember what is held now for the next time.

    What was held counts from one call to the next as it was at the first of them. Rows of those that held
    nothing in between and hold nothing now stay as they are: they fade when they are read.
    """
    now = {(one.pool_id, one.organization_id): one.share for one in shares}
    rows = {(row.pool_id, row.organization_id): row for row in connection.execute(select(pool_uses))}
    changed, gone = [], []
    for key, row in rows.items():
        elapsed_s = (now_us - row.at_us) / US_PER_S
        usage_s = usage_decay(row.usage_s, row.share, elapsed_s)
        if key in now or row.share:
            share = now.get(key, 0.0)
            changed.append(_use(key) | {"usage": usage_s, "held": share, "now_us": max(now_us, row.at_us)})
        elif usage_s < _USAGE_FORGOTTEN_S:
            gone.append(_use(key))
    added = [
        {"pool_id": pool, "organization_id": name, "usage_s": 0.0, "share": share, "at_us": now_us}
        for (pool, name), share in now.items()
        if (pool, name) not in rows
    ]
    of_key = (
        pool_uses.c.pool_id == bindparam("of_pool"),
        pool_uses.c.organization_id == bindparam("of_name"),
    )
    if changed:
        moved = update(pool_uses).where(*of_key)
        moved = moved.values(usage_s=bindparam("usage"), share=bindparam("held"), at_us=bindparam("now_us"))
        connection.execute(moved, changed)
    if gone:
        connection.execute(delete(pool_uses).where(*of_key), gone)
    if added:
        connection.execute(insert(pool_uses), added)


def _limited(connection: Connection, charges: Charges) -> list[tuple[str, QuotaResource]]:
    """The charges that a quota limits, in one order for all, so that no two transactions block each other."""
    wanted = {key for key, amount in charges.items() if amount}
    names = sorted({organization_id for organization_id, _ in wanted})
    rows_lock(connection, organizations, organizations.c.id.in_(names), alone=False)
    found = set()
    for start in range(0, len(names), IDS_PER_QUERY):
        rows = connection.execute(_QUOTAS_OF, {"ids": names[start : start + IDS_PER_QUERY]})
        found |= {(row.organization_id, QuotaResource(row.resource)) for row in rows}
    return sorted(found & wanted)


def _amount(key: tuple[str, QuotaResource], amount: int) -> dict[str, object]:
    return {"of_organization": key[0], "of_resource": key[1].value, "amount": amount}


def _use(key: tuple[str, str]) -> dict[str, object]:
    return {"of_pool": key[0], "of_name": key[1]}


def _of_resource(amounts: Amounts, resource: QuotaResource) -> int:
    amount: int = getattr(amounts, resource.value)
    return amount


def _held_by_pool(
    connection: Connection, organization_ids: Collection[str] | None
) -> dict[tuple[str, str], Amounts]:
    """What live attempts hold, by pool and organization; of some organizations or of all."""
    who = () if organization_ids is None else (attempts.c.organization_id.in_(sorted(organization_ids)),)
    key = hosts.c.pool_id, attempts.c.organization_id
    sums = (
        select(
            *key,
            func.sum(attempts.c.cpu_milli),
            func.sum(attempts.c.memory_bytes),
            func.sum(attempts.c.disk_bytes),
            func.count(),
        )
        .join(hosts, hosts.c.id == attempts.c.host_id)
        .where(is_live(), *who)
        .group_by(*key)
    )
    parts = (
        select(*key, func.sum(attempt_devices.c.milli))
        .join(attempts, attempts.c.id == attempt_devices.c.attempt_id)
        .join(hosts, hosts.c.id == attempts.c.host_id)
        .where(is_false(attempt_devices.c.released), is_live(), *who)
        .group_by(*key)
    )
    devices_held = {(pool, name): int(milli) for pool, name, milli in connection.execute(parts)}
    return {
        (pool, name): Amounts(int(cpu), int(memory), int(disk), devices_held.get((pool, name), 0), tasks)
        for pool, name, cpu, memory, disk, tasks in connection.execute(sums)
    }


def _capacities(connection: Connection) -> dict[str, Amounts]:
    """What the hosts of each pool that may take work have."""
    open_ = (hosts.c.state == "schedulable", hosts.c.health == "up")
    sums = (
        select(
            hosts.c.pool_id,
            func.sum(hosts.c.cpu_milli),
            func.sum(hosts.c.memory_bytes),
            func.sum(hosts.c.disk_bytes),
        )
        .where(*open_)
        .group_by(hosts.c.pool_id)
    )
    healthy = (
        select(hosts.c.pool_id, func.count().label("devices"))
        .join(devices, devices.c.host_id == hosts.c.id)
        .where(*open_, devices.c.health == DeviceHealth.HEALTHY.value)
        .group_by(hosts.c.pool_id)
    )
    counts = {row.pool_id: row.devices for row in connection.execute(healthy)}
    return {
        pool: Amounts(int(cpu), int(memory), int(disk), DEVICE_MILLI * counts.get(pool, 0))
        for pool, cpu, memory, disk in connection.execute(sums)
    }

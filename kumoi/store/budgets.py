"""Rates of pools and budgets of organizations. Money is integer micro-yen.

What a month costs so far is reckoned from the metered use, by the upkeep loop; what live work may still cost
is promised when it is placed. Nothing is placed that would let the two together pass a budget.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, Connection, bindparam, case, cast, delete, func, insert, select, update

from kumoi.core.metering import PERIOD_US
from kumoi.core.queue.fairness import Amounts
from kumoi.core.queue.months import month_of
from kumoi.core.queue.prices import FREE, Prices, price_microyen
from kumoi.model.shares import Budget, BudgetWrite, Rate, RateWrite
from kumoi.model.time import US_PER_S
from kumoi.store.schema import (
    AnyRow,
    attempt_devices,
    attempts,
    budgets,
    hosts,
    is_live,
    jobs,
    rates,
    usage_intervals,
)

SETTLE_US = 2 * 86_400 * US_PER_S
"""Metered use that ended longer ago than this is taken to be written, and is not summed up again."""
IDS_PER_QUERY = 500

_BUDGETS_OF = select(budgets).where(budgets.c.organization_id.in_(bindparam("ids", expanding=True)))
# What was spent before this month leaves all of its budget, whether or not the loop has reckoned it yet.
_SPENT = case((budgets.c.month == bindparam("of_month"), budgets.c.spent_microyen), else_=0)
_PROMISE = (
    update(budgets)
    .where(
        budgets.c.organization_id == bindparam("of_organization"),
        _SPENT + budgets.c.promised_microyen + bindparam("price") <= budgets.c.month_microyen,
    )
    .values(promised_microyen=budgets.c.promised_microyen + bindparam("price"))
)


def rate_list(connection: Connection, limit: int, after_id: str | None) -> Sequence[Rate]:
    """The rates of pools that have any, by pool, after `after_id`."""
    statement = select(rates).where(rates.c.pool_id > (after_id or "")).order_by(rates.c.pool_id).limit(limit)
    return [rate_from_row(row) for row in connection.execute(statement)]


def rate_get(connection: Connection, pool_id: str) -> Rate | None:
    """The rates of a pool, None where its work is free."""
    row = connection.execute(select(rates).where(rates.c.pool_id == pool_id)).one_or_none()
    return None if row is None else rate_from_row(row)


def rate_put(connection: Connection, pool_id: str, body: RateWrite, now_us: int) -> Rate:
    """Write the rates of a pool. Budgets of this month count by them what was not settled before."""
    values = {
        "cpu_core_hour_microyen": body.cpu_core_hour_microyen,
        "memory_gib_hour_microyen": body.memory_gib_hour_microyen,
        "device_hour_microyen": body.device_hour_microyen,
        "updated_us": now_us,
    }
    where = rates.c.pool_id == pool_id
    changed = connection.execute(
        update(rates).where(where).values(**values, version=rates.c.version + 1)
    ).rowcount
    if not changed:
        connection.execute(insert(rates).values(pool_id=pool_id, **values))
    return rate_from_row(connection.execute(select(rates).where(where)).one())


def rate_from_row(row: AnyRow) -> Rate:
    """The rates as everybody sees them."""
    return Rate(
        row.pool_id,
        row.cpu_core_hour_microyen,
        row.memory_gib_hour_microyen,
        row.device_hour_microyen,
        row.version,
    )


def prices_load(connection: Connection, pool_id: str) -> Prices:
    """The prices of a pool, for `core.queue.order`."""
    row = connection.execute(select(rates).where(rates.c.pool_id == pool_id)).one_or_none()
    return FREE if row is None else _prices(row)


def budget_get(connection: Connection, organization_id: str) -> Budget | None:
    """The budget of an organization, None where it has none."""
    row = connection.execute(_BUDGETS_OF, {"ids": [organization_id]}).one_or_none()
    return None if row is None else budget_from_row(row)


def budget_put(connection: Connection, organization_id: str, body: BudgetWrite, now_us: int) -> Budget:
    """Write a budget. A new one counts the month from its start, as the loop reckons it the next time."""
    where = budgets.c.organization_id == organization_id
    values = {"month_microyen": body.month_microyen, "updated_us": now_us}
    changed = connection.execute(
        update(budgets).where(where).values(**values, version=budgets.c.version + 1)
    ).rowcount
    if not changed:
        month, start_us = month_of(now_us)
        connection.execute(
            insert(budgets).values(
                organization_id=organization_id, month=month, settled_us=start_us, **values
            )
        )
        budgets_advance(connection, [organization_id], now_us)
    return budget_from_row(connection.execute(select(budgets).where(where)).one())


def budget_drop(connection: Connection, organization_id: str) -> None:
    """Lift a budget."""
    connection.execute(delete(budgets).where(budgets.c.organization_id == organization_id))


def budget_from_row(row: AnyRow) -> Budget:
    """The budget as its organization sees it."""
    return Budget(
        row.organization_id,
        row.month,
        row.month_microyen,
        row.spent_microyen,
        row.promised_microyen,
        row.version,
    )


def budgets_left(connection: Connection, organization_ids: Sequence[str], now_us: int) -> dict[str, int]:
    """What is left of this month's budgets; organizations without one are left out. At most 500 at once."""
    month, _ = month_of(now_us)
    return {
        row.organization_id: row.month_microyen
        - row.promised_microyen
        - (row.spent_microyen if row.month == month else 0)
        for row in connection.execute(_BUDGETS_OF, {"ids": list(organization_ids)})
    }


def budgets_charge(connection: Connection, prices_microyen: Mapping[str, int], now_us: int) -> set[str]:
    """Promise what work about to be placed may cost; returns the organizations whose budgets it would pass.

    What is left is as in `budgets_left`. Of those refused nothing is promised. Call it in the transaction
    that writes the attempts. The loop reckons promises again, so what ends needs no call.
    """
    names = sorted(name for name, price in prices_microyen.items() if price)
    limited: list[str] = []
    for start in range(0, len(names), IDS_PER_QUERY):
        rows = connection.execute(_BUDGETS_OF, {"ids": names[start : start + IDS_PER_QUERY]})
        limited += [row.organization_id for row in rows]
    month, _ = month_of(now_us)
    refused = set()
    for name in sorted(limited):
        promise = {"of_organization": name, "of_month": month, "price": prices_microyen[name]}
        if not connection.execute(_PROMISE, promise).rowcount:
            refused.add(name)
    return refused


def budgets_due(connection: Connection, before_us: int, limit: int) -> list[str]:
    """The organizations whose budgets were not reckoned since `before_us`, those of longest ago first."""
    statement = (
        select(budgets.c.organization_id)
        .where(budgets.c.updated_us < before_us)
        .order_by(budgets.c.updated_us, budgets.c.organization_id)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def budgets_advance(connection: Connection, organization_ids: Sequence[str], now_us: int) -> None:
    """Reckon what the month costs so far, and what live work may still cost.

    Use that ended before `settled_us` is not summed up again. The rows are locked first, so work that is
    placed meanwhile makes its promise before or after.
    """
    month, start_us = month_of(now_us)
    prices = {row.pool_id: _prices(row) for row in connection.execute(select(rates))}
    locked = _BUDGETS_OF.order_by(budgets.c.organization_id).with_for_update(key_share=True)
    for row in connection.execute(locked, {"ids": list(organization_ids)}).all():
        name, same = row.organization_id, row.month == month
        before_us = row.settled_us if same else start_us
        settled_us = max(before_us, now_us - SETTLE_US)
        settled = row.settled_microyen if same else 0
        settled += _used_microyen(connection, name, prices, start_us, before_us, settled_us)
        fresh = _used_microyen(connection, name, prices, start_us, settled_us, now_us + PERIOD_US)
        connection.execute(
            update(budgets)
            .where(budgets.c.organization_id == name)
            .values(
                month=month,
                settled_us=settled_us,
                settled_microyen=settled,
                spent_microyen=settled + fresh,
                promised_microyen=_promised_microyen(connection, name, prices, now_us),
                updated_us=now_us,
            )
        )


def _prices(row: AnyRow) -> Prices:
    return Prices(row.cpu_core_hour_microyen, row.memory_gib_hour_microyen, row.device_hour_microyen)


# The thousandths of devices that an attempt holds or held.
_DEVICE_MILLI = (
    select(func.coalesce(func.sum(attempt_devices.c.milli), 0))
    .where(attempt_devices.c.attempt_id == attempts.c.id)
    .correlate(attempts)
    .scalar_subquery()
)


def _used_microyen(
    connection: Connection,
    organization_id: str,
    prices: Mapping[str, Prices],
    month_us: int,
    after_us: int,
    until_us: int,
) -> int:
    """The price of metered use of the month that ended in (after, until].

    The database adds up times per size of attempt; products, which go beyond 64 bits, are made here.
    """
    table = usage_intervals
    size = (
        hosts.c.pool_id.label("pool_id"),
        table.c.cpu_milli.label("cpu_milli"),
        table.c.memory_bytes.label("memory_bytes"),
        _DEVICE_MILLI.label("device_milli"),
    )
    sizes = (
        select(*size, (table.c.end_us - table.c.start_us).label("held_us"))
        .join(attempts, attempts.c.id == table.c.attempt_id)
        .join(hosts, hosts.c.id == attempts.c.host_id)
        .where(
            table.c.organization_id == organization_id,
            table.c.end_us > after_us,
            table.c.end_us <= until_us,
            table.c.start_us >= month_us,
        )
        .subquery()
    )
    key = (sizes.c.pool_id, sizes.c.cpu_milli, sizes.c.memory_bytes, sizes.c.device_milli)
    statement = select(*key, cast(func.sum(sizes.c.held_us), BigInteger).label("held_us")).group_by(*key)
    return sum(
        _price_us(prices.get(row.pool_id, FREE), row, row.held_us) for row in connection.execute(statement)
    )


def _promised_microyen(
    connection: Connection, organization_id: str, prices: Mapping[str, Prices], now_us: int
) -> int:
    """The most that live work may still cost beyond what is metered."""
    statement = (
        select(
            hosts.c.pool_id,
            attempts.c.cpu_milli,
            attempts.c.memory_bytes,
            _DEVICE_MILLI.label("device_milli"),
            attempts.c.placed_us,
            attempts.c.metered_us,
            attempts.c.started_us,
            jobs.c.wall_time_s,
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(hosts, hosts.c.id == attempts.c.host_id)
        .where(is_live(), attempts.c.organization_id == organization_id)
    )
    promised = 0
    for row in connection.execute(statement):
        started_us = row.started_us or max(row.placed_us, now_us)
        metered_us = row.metered_us or started_us
        open_us = max(0, started_us + row.wall_time_s * US_PER_S - metered_us)
        promised += _price_us(prices.get(row.pool_id, FREE), row, open_us)
    return promised


def _price_us(prices: Prices, row: AnyRow, held_us: int) -> int:
    amounts = Amounts(int(row.cpu_milli), int(row.memory_bytes), 0, int(row.device_milli))
    return price_microyen(prices, amounts, -(-int(held_us) // US_PER_S))

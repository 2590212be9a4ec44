"""What organizations may hold and spend: quotas, weights, rates, budgets, reservations."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, delete, get, pages, path, post, put, tell
from kumoi.model.shares import (
    Budget,
    BudgetWrite,
    FairShare,
    FairShareWrite,
    Quota,
    QuotaResource,
    QuotaWrite,
    Rate,
    RateWrite,
    Reservation,
    ReservationCreate,
)


def _expected(version: int | None) -> dict[str, str] | None:
    return None if version is None else {"If-Match": f'"{version}"'}


def quota_list(organization: str, *, limit: int | None = None) -> Stream[Quota]:
    """The quotas of an organization; a resource that is not among them has no limit."""
    return pages(Quota, path("organizations", organization, "quotas"), limit)


def quota_put(
    organization: str, resource: QuotaResource, most: int, *, version: int | None = None
) -> Flow[Quota]:
    """Limit what live work of an organization holds (only from `version` on, where it is given)."""
    at = path("organizations", organization, "quotas", resource)
    return ask(Quota, put(at, QuotaWrite(most), _expected(version)))


def quota_delete(organization: str, resource: QuotaResource, version: int) -> Flow[None]:
    """Lift a quota, if `version` is still its version."""
    return tell(delete(path("organizations", organization, "quotas", resource), version))


def budget_read(organization: str) -> Flow[Budget]:
    """What an organization may spend this month, and what it spent."""
    return ask(Budget, get(path("organizations", organization, "budget")))


def budget_put(organization: str, month_microyen: int, *, version: int | None = None) -> Flow[Budget]:
    """Limit what new work of an organization spends in a month."""
    at = path("organizations", organization, "budget")
    return ask(Budget, put(at, BudgetWrite(month_microyen), _expected(version)))


def budget_delete(organization: str, version: int) -> Flow[None]:
    """Lift a budget, if `version` is still its version."""
    return tell(delete(path("organizations", organization, "budget"), version))


def fair_share_read(organization: str) -> Flow[FairShare]:
    """The weight of an organization where organizations compete."""
    return ask(FairShare, get(path("organizations", organization, "fair-share")))


def fair_share_put(organization: str, weight: int, *, version: int | None = None) -> Flow[FairShare]:
    """Give an organization a weight."""
    at = path("organizations", organization, "fair-share")
    return ask(FairShare, put(at, FairShareWrite(weight), _expected(version)))


def rate_list(*, limit: int | None = None) -> Stream[Rate]:
    """What work costs in each pool; in pools that are not named it is free."""
    return pages(Rate, path("rates"), limit)


def rate_put(pool: str, body: RateWrite, *, version: int | None = None) -> Flow[Rate]:
    """Set what work costs in a pool."""
    return ask(Rate, put(path("pools", pool, "rate"), body, _expected(version)))


def reservation_list(organization: str, *, limit: int | None = None) -> Stream[Reservation]:
    """Reservations of an organization, past ones too."""
    return pages(Reservation, path("organizations", organization, "reservations"), limit)


def reservation_read(organization: str, reservation: str) -> Flow[Reservation]:
    """One reservation."""
    return ask(Reservation, get(path("organizations", organization, "reservations", reservation)))


def reservation_create(
    organization: str, body: ReservationCreate, *, key: str | None = None
) -> Flow[Reservation]:
    """Hold whole hosts of a pool for an organization at a date."""
    return ask(Reservation, post(path("organizations", organization, "reservations"), body, key))


def reservation_cancel(organization: str, reservation: str, *, key: str | None = None) -> Flow[Reservation]:
    """Give the hosts of a reservation back."""
    at = path("organizations", organization, "reservations", reservation, "cancel")
    return ask(Reservation, post(at, None, key))


class Quotas(Group[D]):
    """`client.quotas`"""

    list = Streaming(quota_list)
    put = Operation(quota_put)
    delete = Operation(quota_delete)


class Budgets(Group[D]):
    """`client.budgets`"""

    get = Operation(budget_read)
    put = Operation(budget_put)
    delete = Operation(budget_delete)


class FairShares(Group[D]):
    """`client.fair_shares`"""

    get = Operation(fair_share_read)
    put = Operation(fair_share_put)


class Rates(Group[D]):
    """`client.rates`"""

    list = Streaming(rate_list)
    put = Operation(rate_put)


class Reservations(Group[D]):
    """`client.reservations`"""

    list = Streaming(reservation_list)
    get = Operation(reservation_read)
    create = Operation(reservation_create)
    cancel = Operation(reservation_cancel)

"""The part of the table of routes that says what organizations may hold and spend."""

from kumoi.model.access import Action
from kumoi.model.records import Page
from kumoi.model.shares import (
    Budget,
    BudgetWrite,
    FairShare,
    FairShareWrite,
    Quota,
    QuotaWrite,
    Rate,
    RateWrite,
    Reservation,
    ReservationCreate,
)
from kumoi.web.api import budgets, reservations, shares
from kumoi.web.api.parameters import PageQuery
from kumoi.web.api.route import Route

A = Action
_ORGANIZATION = "/v1/organizations/{organization}"
_QUOTA = f"{_ORGANIZATION}/quotas/{{resource}}"
_BUDGET = f"{_ORGANIZATION}/budget"
_SHARE = f"{_ORGANIZATION}/fair-share"
_RESERVATIONS = f"{_ORGANIZATION}/reservations"
_RESERVATION = f"{_RESERVATIONS}/{{reservation}}"

SHARE_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        f"{_ORGANIZATION}/quotas",
        shares.quota_list,
        A.QUOTA_LIST,
        Page[Quota],
        query=PageQuery,
    ),
    Route(
        "PUT",
        _QUOTA,
        shares.quota_write,
        A.QUOTA_WRITE,
        Quota,
        200,
        QuotaWrite,
        also=(201,),
        errors=(409, 412),
        etag=True,
        if_match=True,
    ),
    Route(
        "DELETE",
        _QUOTA,
        shares.quota_delete,
        A.QUOTA_DELETE,
        None,
        204,
        errors=(409, 412, 428),
        if_match=True,
    ),
    Route("GET", _SHARE, shares.fair_share_read, A.FAIR_SHARE_READ, FairShare, etag=True),
    Route(
        "PUT",
        _SHARE,
        shares.fair_share_write,
        A.FAIR_SHARE_WRITE,
        FairShare,
        200,
        FairShareWrite,
        errors=(409, 412),
        etag=True,
        if_match=True,
    ),
    Route("GET", "/v1/rates", budgets.rate_list, A.RATE_LIST, Page[Rate], query=PageQuery),
    Route(
        "PUT",
        "/v1/pools/{pool}/rate",
        budgets.rate_write,
        A.RATE_WRITE,
        Rate,
        200,
        RateWrite,
        errors=(409, 412),
        etag=True,
        if_match=True,
    ),
    Route("GET", _BUDGET, budgets.budget_read, A.BUDGET_READ, Budget, etag=True),
    Route(
        "PUT",
        _BUDGET,
        budgets.budget_write,
        A.BUDGET_WRITE,
        Budget,
        200,
        BudgetWrite,
        errors=(409, 412),
        etag=True,
        if_match=True,
    ),
    Route(
        "DELETE",
        _BUDGET,
        budgets.budget_delete,
        A.BUDGET_DELETE,
        None,
        204,
        errors=(409, 412, 428),
        if_match=True,
    ),
    Route(
        "GET",
        _RESERVATIONS,
        reservations.reservation_list,
        A.RESERVATION_LIST,
        Page[Reservation],
        query=PageQuery,
    ),
    Route(
        "POST",
        _RESERVATIONS,
        reservations.reservation_create,
        A.RESERVATION_CREATE,
        Reservation,
        201,
        ReservationCreate,
        etag=True,
    ),
    Route("GET", _RESERVATION, reservations.reservation_read, A.RESERVATION_READ, Reservation, etag=True),
    Route(
        "POST",
        f"{_RESERVATION}/cancel",
        reservations.reservation_cancel,
        A.RESERVATION_CANCEL,
        Reservation,
        etag=True,
    ),
)

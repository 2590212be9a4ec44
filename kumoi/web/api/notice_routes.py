"""The part of the table of routes that says where notices go."""

from kumoi.model.access import Action
from kumoi.model.notices import NoticeSending, NoticeTarget, NoticeTargetCreate, NoticeTargetCreated
from kumoi.model.records import Page
from kumoi.web.api import notices
from kumoi.web.api.parameters import PageQuery
from kumoi.web.api.route import Route

A = Action
_ORGANIZATION = "/v1/organizations/{organization}"
_TARGETS = f"{_ORGANIZATION}/notice-targets"
_TARGET = "/v1/notice-targets/{notice_target}"

NOTICE_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        f"{_ORGANIZATION}/notices",
        notices.notice_list,
        A.NOTICE_LIST,
        Page[NoticeSending],
        query=PageQuery,
    ),
    Route(
        "GET",
        _TARGETS,
        notices.notice_target_list,
        A.NOTICE_TARGET_LIST,
        Page[NoticeTarget],
        query=PageQuery,
    ),
    Route(
        "POST",
        _TARGETS,
        notices.notice_target_create,
        A.NOTICE_TARGET_CREATE,
        NoticeTargetCreated,
        201,
        NoticeTargetCreate,
    ),
    Route("DELETE", _TARGET, notices.notice_target_delete, A.NOTICE_TARGET_DELETE, None, 204),
    Route(
        "POST",
        f"{_TARGET}/test",
        notices.notice_target_test,
        A.NOTICE_TARGET_TEST,
        NoticeSending,
        202,
        errors=(429,),
    ),
)

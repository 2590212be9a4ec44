"""What is sent of a notice, and the errors of sending it."""

import gettext
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import kumoi
from kumoi.core.notices import TEXTS, TITLES, details_own, details_public
from kumoi.model.notices import NoticeKind
from kumoi.model.time import time_format

SEND_S = 10.0
"""One try takes no longer, whatever the receiver does."""
LANGUAGES = ("ja", "en")
_LOCALE_DIR = Path(kumoi.__file__).parent / "locale"
_WITNESSES_LINK = "/log/witnesses"


class Trust:
    """Whom TLS trusts: the system's authorities and those in `ca_file`. Read when first needed."""

    def __init__(self, ca_file: str = "") -> None:
        self._ca_file = ca_file

    @cached_property
    def context(self) -> ssl.SSLContext:
        """The context of a client that checks names. Raises OSError where the file holds no certificate."""
        made = ssl.create_default_context()
        if self._ca_file:
            made.load_verify_locations(self._ca_file)
        return made


class NotSent(Exception):
    """A notice did not arrive; the message says why in words of ours, fit for its organization to read."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice as one organization gets it. `link` is a path below the API's address.

    `titles` and `texts` by language; `detail` holds what of the event this organization may read.
    """

    id: str
    kind: NoticeKind
    event_id: str
    organization_id: str
    region: str
    created_us: int
    titles: Mapping[str, str]
    texts: Mapping[str, str]
    detail: Mapping[str, str]
    link: str


def notice_make(row: Any, region: str) -> Notice:
    """The notice of a row of `kumoi.store.notices.sendings_get`."""
    kind = NoticeKind(row.kind)
    event = json.loads(row.canonical)
    is_own = row.event_organization_id == row.organization_id
    public = details_public(kind, event["detail"])
    own = details_own(kind, event["detail"]) if is_own else {}
    return Notice(
        id=row.notice_id,
        kind=kind,
        event_id=event["id"],
        organization_id=row.organization_id,
        region=region,
        created_us=row.created_us,
        titles={language: _say(language, TITLES[kind], {}) for language in LANGUAGES},
        texts={language: _say(language, TEXTS[kind], public) for language in LANGUAGES},
        detail=public | own,
        link=f"/v1/events/{event['id']}" if is_own else _WITNESSES_LINK,
    )


def notice_body(notice: Notice) -> bytes:
    """What a webhook gets: the same bytes at every try."""
    body = {
        "type": notice.kind.value,
        "timestamp": time_format(notice.created_us),
        "data": {
            "notice": notice.id,
            "event": notice.event_id,
            "organization": notice.organization_id,
            "region": notice.region,
            "title": notice.titles,
            "text": notice.texts,
            "detail": notice.detail,
            "link": notice.link,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _say(language: str, text: str, params: Mapping[str, str]) -> str:
    return _catalogue(language).gettext(text).format(**params)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("kumoi", _LOCALE_DIR, [language], fallback=True)

"""GET /healthz."""

from typing import Any

from kumoi import __version__


def test_anybody_may_ask(api: Any) -> None:
    answer = api(None, "GET", "/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "version": __version__, "region": "region-1"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"

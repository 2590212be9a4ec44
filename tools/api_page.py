"""Write docs/api.md from the table of routes. Run it after every change of the table."""

from itertools import groupby
from pathlib import Path

from kumoi.web.api.route import Media, Route
from kumoi.web.api.routes import ROUTES

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
_HEAD = """\
# API

Generated from `kumoi/web/api/routes.py` by `tools/api_page.py`; a test holds the two together. The whole
truth, shapes and bounds included, is the OpenAPI 3.1 document that every plane serves at `/openapi.json`.

- **Token:** `Authorization: Bearer kumoi_...` on everything that names an action. 401 without one. What you
  may not know of answers 404, what you may read but not do 403. [Roles and actions](guard.md).
- **Errors** are problem details (RFC 9457): a stable `type` `urn:kumoi:error:<code>`, a text in the language
  of `Accept-Language` (en, ja), and `at`, the place in the request. `Kumoi-Request-Id` names the request in
  the plane's log.
- **Explanations** (why a job waits, why a service has its replicas, what stands in its way, why a pool
  borrows) have a stable `code` with its parameters for programs, and a sentence for people in that language.
- **Strict:** unknown fields and parameters are refused, as is a body over its limit.
- **Again:** every POST honours `Idempotency-Key`: the same key gets the same answer for 24 hours, with
  `Idempotency-Replayed: true`, and nothing is done twice. With another body it is 409.
- **Versions:** `ETag` is the version of a row. Where `If-Match` is named below it guards the change (412;
  428 where it must be there).
- **Pages:** `limit` (100, at most 1,000) and `cursor`; send `next` of a page as `cursor` until it is null.
- **Units:** times RFC 3339 UTC, sizes in bytes, durations in seconds, CPU in thousandths.
- **Watch:** `text/event-stream`; a reconnect with `Last-Event-ID` goes on after that event and misses none.
"""


def page_render() -> str:
    """The whole page."""
    parts = [_HEAD]
    for module, routes in groupby(ROUTES, key=lambda route: route.handler.__module__):
        name = module.rpartition(".")[2].replace("_", " ")
        title = "The document itself" if name == "routes" else name.capitalize()
        parts += [f"## {title}", "", "| | Does | Action | Takes | Answers |", "|---|---|---|---|---|"]
        parts += [*map(_row, routes), ""]
    return "\n".join(parts)


def _row(route: Route) -> str:
    summary = (route.handler.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    action = f"`{route.action}`" if route.action is not None else "public"
    taken = _shape(route.body) + ("; If-Match" if route.if_match else "")
    statuses = ", ".join(str(status) for status in route.successes)
    answered = f"{statuses} {_shape(route.answer)}".strip()
    return f"| `{route.method} {route.path}` | {summary} | {action} | {taken.strip('; ')} | {answered} |"


def _shape(shape: object) -> str:
    if shape is None:
        return ""
    if isinstance(shape, Media):
        return shape.value
    return str(shape).rpartition(".")[2].rstrip("]'>") if "[" not in str(shape) else _page(shape)


def _page(shape: object) -> str:
    return f"page of {str(shape).partition('[')[2].rstrip(']').rpartition('.')[2]}"


if __name__ == "__main__":
    PAGE.write_text(page_render(), "utf-8")

"""Bodies and query strings to models: 400 for what cannot be parsed, 422 for what makes no sense.

msgspec says what is wrong in one line of English; its forms are few, so each becomes a code, a text that
can be translated, and a JSON pointer (RFC 6901) to the place.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from kumoi.model.errors import BadRequest, Invalid, TooLarge
from kumoi.model.jobs import IMAGE_PATTERN
from kumoi.web.text import message

QUERY_FIELDS_MAX = 32
_SHOWN_MAX = 200
TEXTS_MAX = 250_000
"""The most texts, names of fields included, in one body: what each takes bounds what a body takes."""
LOOP_BYTES_MAX = 256 << 10
"""Larger bodies are decoded in a thread, so that nobody waits for somebody else's."""
_NUL_ESCAPED = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PATH_STEP = re.compile(r"\.(?P<field>[^.\[\]]+)|\[(?P<index>\d+)\]")
_FORMS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL),
        "field_unknown",
        message("there is no field {field}; remove it"),
    ),
    (
        re.compile(r"Object missing required field `(?P<field>.*)`"),
        "field_missing",
        message("the field {field} is missing; add it"),
    ),
    (
        re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`"),
        "type_mismatch",
        message("expected {wanted}, got {got}"),
    ),
    (
        re.compile(r"Expected `(?P<wanted>\w+)` of length (?P<relation>[<>=]+) (?P<bound>\d+)"),
        "length_out_of_range",
        message("expected {wanted} of a length {relation} {bound}"),
    ),
    (
        re.compile(r"Expected `(?P<wanted>\w+)` (?P<relation>[<>=]+) (?P<bound>\S+)"),
        "out_of_range",
        message("expected {wanted} {relation} {bound}"),
    ),
    (
        re.compile(re.escape(f"Expected `str` matching regex {IMAGE_PATTERN!r}")),
        "pattern_mismatch",
        message("an image is named by digest: NAME@sha256:HEX; tags are not taken"),
    ),
    (
        re.compile(r"Expected `str` matching regex '(?P<pattern>.*)'"),
        "pattern_mismatch",
        message("expected text that matches {pattern}"),
    ),
    (
        re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL),
        "value_unknown",
        message("{value} is none of the values that are allowed here"),
    ),
    (re.compile(r".*out of range"), "out_of_range", message("the number is out of range")),
    (re.compile(r"(?P<reason>.*)", re.DOTALL), "invalid", message("the value is refused: {reason}")),
)


async def body_take(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """`body_decode`, without keeping other requests waiting."""
    if len(raw) <= LOOP_BYTES_MAX:
        return body_decode(decoder, raw)
    return await asyncio.to_thread(body_decode, decoder, raw)


def body_decode(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:
    """`raw` as the decoder's type. Raises BadRequest, Invalid or TooLarge."""
    if raw.count(b'"') > 2 * TEXTS_MAX:
        raise TooLarge(
            "body_too_many_texts",
            "the body holds more than {limit} texts; send it in several requests",
            limit=TEXTS_MAX,
        )
    try:
        value = decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), _pointer) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(
            "json_invalid", "the body is not valid JSON ({reason}); correct it", reason=str(error)
        ) from None
    except UnicodeDecodeError:
        raise BadRequest("utf8_invalid", "the body is not valid UTF-8; encode it as UTF-8") from None
    if _NUL_ESCAPED.search(raw):
        _nul_refuse(msgspec.json.decode(raw))
    return value


def query_decode(model: type[Any], raw: bytes) -> Any:
    """The query string as `model`. Raises BadRequest for what is no query, Invalid for what is refused."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
        )
    except ValueError:
        raise BadRequest(
            "query_invalid",
            "the query string is not UTF-8 in percent-encoding, or has more than {limit} parameters",
            limit=QUERY_FIELDS_MAX,
        ) from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        repeated = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise Invalid(
            "parameter_repeated",
            "the parameter {name} is given twice; give it once",
            at=repeated[:_SHOWN_MAX],
            name=repeated[:_SHOWN_MAX],
        )
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise _nul(name[:_SHOWN_MAX])
    try:
        return msgspec.convert(fields, model, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(str(error), _parameter) from None


def _invalid(reason: str, place: Callable[[str, str | None], str]) -> Invalid:
    """The typed form of a line of msgspec, which reads `what - at `$.path``."""
    what, placed, path = reason.rpartition(" - at ")
    if not placed:
        what, path = reason, ""
    for pattern, code, text in _FORMS:
        match = pattern.fullmatch(what)
        if match is not None:
            params = {name: value[:_SHOWN_MAX] for name, value in match.groupdict().items()}
            return Invalid(code, text, at=place(path, params.get("field")), **params)
    raise AssertionError("the last form takes every line")


def _steps(path: str) -> Iterator[str]:
    for step in _PATH_STEP.finditer(path.rpartition("`$")[2].rstrip("`")):
        yield step["field"] or step["index"]


def _pointer(path: str, field: str | None) -> str:
    steps = [*_steps(path), *([field] if field is not None else [])]
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _parameter(path: str, field: str | None) -> str:
    return field if field is not None else next(_steps(path), "")


def _nul(at: str) -> Invalid:
    return Invalid("nul_in_text", "text may not hold the character U+0000; remove it", at=at)


def _nul_refuse(value: object) -> None:
    """Refuse U+0000 in any text or name: databases and operating systems end text there."""
    pending: list[tuple[object, str]] = [(value, "")]
    while pending:
        found, at = pending.pop()
        if isinstance(found, str):
            if "\0" in found:
                raise _nul(at)
        elif isinstance(found, dict):
            pending.extend((name, at) for name in found)
            pending.extend((item, _pointer_add(at, name)) for name, item in found.items())
        elif isinstance(found, list):
            pending.extend((item, f"{at}/{index}") for index, item in enumerate(found))


def _pointer_add(at: str, name: str) -> str:
    return f"{at}/{name[:_SHOWN_MAX].replace('~', '~0').replace('/', '~1')}"

"""Bodies pass whole, however the network cuts them, and end where they say."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.gateway.bodies import Body, BodyBroken


def _pass(body: Body, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    out, rest = b"", b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        if body.done:
            rest += data[start:end]
            continue
        passed, over = body.feed(data[start:end])
        out += passed
        rest += over
    return out, rest


contents = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


@given(contents, st.lists(st.integers(0, 1_000), max_size=8), st.binary(max_size=10))
def test_chunks_keep_their_content_and_end_exactly(parts: list[bytes], cuts: list[int], next_: bytes) -> None:
    sent = (
        b"".join(b"%X;ext=1\r\n%b\r\n" % (len(part), part) for part in parts)
        + b"0\r\nx-trailer: 1\r\n\r\n"
        + next_
    )
    body = Body(None, unchunk=True)
    assert _pass(body, sent, cuts) == (b"".join(parts), next_)
    assert body.done
    again = Body(None)
    passed, rest = _pass(again, sent, cuts)
    assert rest == next_
    assert _pass(Body(None, unchunk=True), passed, []) == (b"".join(parts), b"")
    assert b"trailer" not in passed
    assert b"ext" not in passed or any(b"ext" in part for part in parts)


@given(st.binary(max_size=50), st.lists(st.integers(0, 100), max_size=5), st.binary(max_size=10))
def test_a_length_ends_exactly(content: bytes, cuts: list[int], next_: bytes) -> None:
    body = Body(len(content))
    assert _pass(body, content + next_, cuts) == (content, next_)
    assert body.done


@pytest.mark.parametrize(
    "sent",
    [
        b"x\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloo\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;a=\x00\r\nhello\r\n",
        b"1" * 300,
        b"0\r\n" + b"a: " + b"b" * 300,
        b"0\r\n" + b"a: b\r\n" * 3_000,
        b"ffffffffffffffff\r\n",
    ],
)
def test_broken_chunks_are_refused(sent: bytes) -> None:
    with pytest.raises(BodyBroken):
        Body(None).feed(sent)

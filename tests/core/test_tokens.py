"""Tokens have a form that scanners and the plane know, and only well-formed ones have a hash."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.tokens import SECRET_BYTES, token_format, token_hash

secrets = st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES)


@given(secrets)
def test_a_token_has_its_form_and_the_hash_of_its_text(secret: bytes) -> None:
    token = token_format(secret)
    assert token.startswith("kumoi_")
    assert len(token) == len("kumoi_") + 43 + 6
    assert token_hash(token) == hashlib.sha256(token.encode()).digest()


@given(secrets, secrets)
def test_different_secrets_have_different_tokens(one: bytes, two: bytes) -> None:
    assert (token_format(one) == token_format(two)) == (one == two)


@given(secrets, st.data())
def test_a_token_with_a_wrong_character_is_none(secret: bytes, data: st.DataObject) -> None:
    token = token_format(secret)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda character: character != token[at]))
    assert token_hash(token[:at] + other + token[at + 1 :]) is None


@given(secrets, st.text(max_size=3))
def test_a_token_with_something_before_or_after_it_is_none(secret: bytes, extra: str) -> None:
    token = token_format(secret)
    for text in (token + extra, extra + token):
        assert (token_hash(text) is None) == (text != token)
    assert token_hash(token + "\n") is None


@given(st.text(max_size=80))
def test_noise_is_no_token(text: str) -> None:
    assert token_hash(text) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_secret_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"32 random bytes, got {size}"):
        token_format(bytes(size))

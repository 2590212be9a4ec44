"""Where notices may go: what a tenant names is never what only the plane can reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.notice_addresses import (
    NoticeRules,
    is_entered,
    is_mail_address,
    networks_parse,
    url_parse,
)

NOWHERE = NoticeRules()
LOOPBACK = NoticeRules(networks_parse("127.0.0.0/8, ::1/128"))

CLOSED = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",  # the metadata service of clouds
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",  # 127.0.0.1 by NAT64
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",  # 127.0.0.1 by 6to4
    "2002:a00:1::1",
    "2001:0:7f00:1::",  # Teredo
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "ff0e::1",
    "fec0::1",
    "feff:ffff::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "192.88.99.1",
    "::ffff:192.88.99.1",
]
OPEN = ["93.184.216.34", "1.1.1.1", "2606:2800:220:1::1", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_is_not_entered(address: str) -> None:
    assert not is_entered(address, NOWHERE, is_plain=False)


@pytest.mark.parametrize("address", OPEN)
def test_what_is_public_is_entered_with_tls_only(address: str) -> None:
    assert is_entered(address, NOWHERE, is_plain=False)
    assert not is_entered(address, NOWHERE, is_plain=True)
    everything = NoticeRules(networks_parse("0.0.0.0/0,::/0"))
    assert not is_entered(address, everything, is_plain=True), "without TLS to loopback only"


def test_a_named_network_is_entered_and_no_other() -> None:
    rules = NoticeRules(networks_parse("10.1.0.0/16"))
    assert is_entered("10.1.2.3", rules, is_plain=False)
    assert is_entered("::ffff:10.1.2.3", rules, is_plain=False)
    assert not is_entered("10.2.0.1", rules, is_plain=False)
    assert not is_entered("10.1.2.3", rules, is_plain=True)
    assert not rules.has_http


def test_http_is_for_loopback_where_that_is_named() -> None:
    assert LOOPBACK.has_http
    assert not NOWHERE.has_http
    for address in ("127.0.0.1", "::1"):
        assert is_entered(address, LOOPBACK, is_plain=True)
    assert not is_entered("10.0.0.1", LOOPBACK, is_plain=True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://a.example", ("https", "a.example", 443, "/")),
        ("http://a.example/x?y=%20#".rstrip("#"), ("http", "a.example", 80, "/x?y=%20")),
        ("https://1.2.3.4:8443/", ("https", "1.2.3.4", 8443, "/")),
        ("https://[2001:DB8::1]:8443/a", ("https", "2001:db8::1", 8443, "/a")),
        ("https://0x7f.1/", ("https", "0x7f.1", 443, "/")),
    ],
)
def test_a_url_has_its_parts(text: str, parts: tuple[str, str, int, str]) -> None:
    url = url_parse(text)
    assert (url.scheme, url.host, url.port, url.target) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "ftp://a.example/",
        "file:///etc/passwd",
        "gopher://a.example/",
        "https:///path",
        "https://user@a.example/",
        "https://user:word@a.example/",
        "https://a.example\\@b.example/",
        "https://a.example/#part",
        "https://a.example:0/",
        "https://a.example:65536/",
        "https://a.example:443x/",
        "https://a.example/ x",
        "https://a.example/\r\nHost: b",
        "https://a.example\n",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://例え.jp/",
        "HTTPS://a.example/",
    ],
)
def test_what_is_no_plain_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        url_parse(text)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    for tried in (text, f"https://{text}", f"https://a.example{text}"):
        try:
            url = url_parse(tried)
        except ValueError:
            continue
        assert url.target.startswith("/")
        assert url.target.isascii()
        assert url.target.isprintable()


@pytest.mark.parametrize("text", ["a@b", "ops+kumoi@mail.acme.example", "a.b!c@x-y.example"])
def test_mail_addresses_are_taken(text: str) -> None:
    assert is_mail_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@b",
        "a@",
        "a@b\n",
        "a@b\r\nBcc: c@d",
        "a@b,c@d",
        "a@b c@d",
        "a b@c",
        '"a b"@c',
        "A <a@b>",
        "<a@b>",
        "a@[127.0.0.1]",
        "a@@b",
        ".a@b",
        "a..b@c",
        "a@-b",
        "a@b-",
        "a@b..c",
        "ä@b",
        "x" * 65 + "@b",
        "a@" + "b." * 130 + "c",
    ],
)
def test_what_is_no_single_plain_address_is_refused(text: str) -> None:
    assert not is_mail_address(text)

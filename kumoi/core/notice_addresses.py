"""Where notices may go: the URLs and mail addresses that are taken, and the networks that are not entered.

A tenant names them, and the plane connects: to what everybody can reach, never to what only the plane can.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]"
_TARGET = r"/[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]*"
_URL = re.compile(rf"(https?)://({_HOST})(?::([1-9][0-9]{{0,4}}))?({_TARGET})?")
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAIL = re.compile(rf"(?=[^@]{{1,64}}@){_LOCAL}@(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_PORTS = {"https": 443, "http": 80}
# What Python 3.11 counts as public and nobody hands out: RFC 9637 (documents), 7526 (relays), 3879.
_CLOSED = tuple(ipaddress.ip_network(text) for text in ("3fff::/20", "192.88.99.0/24", "fec0::/10"))
# What stands for another address, that of a translator or a tunnel: RFC 6052, 8215, 3056, 4380.
_DISGUISES = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)


@dataclass(frozen=True, slots=True)
class NoticeUrl:
    """A URL in its parts; `host` without brackets, `target` the path with its query."""

    scheme: str
    host: str
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class NoticeRules:
    """What the operator allows: networks that are entered although they are not public, and mail."""

    networks: tuple[Network, ...] = ()
    has_mail: bool = False

    @property
    def has_http(self) -> bool:
        """Whether a URL may be without TLS: to loopback only, and only where that was named."""
        return is_named("127.0.0.1", self) or is_named("::1", self)


def networks_parse(text: str) -> tuple[Network, ...]:
    """Networks such as `10.1.0.0/16`, separated by commas. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def url_parse(text: str) -> NoticeUrl:
    """The parts of an http or https URL without user, password and fragment. Raises ValueError."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("not a URL such as https://host.example/path, without user and fragment")
    scheme, host, port, target = match.groups()
    number = _PORTS[scheme] if port is None else int(port)
    if number > 65_535:
        raise ValueError(f"there is no port {number}")
    if host.startswith("["):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    return NoticeUrl(scheme, host, number, target or "/")


def is_mail_address(text: str) -> bool:
    """Whether `text` is one plain ASCII address (RFC 5321, without quotes, comments and literals)."""
    return _MAIL.fullmatch(text) is not None


def is_entered(address: str, rules: NoticeRules, *, is_plain: bool) -> bool:
    """Whether a notice may be sent to this IP address; `is_plain` without TLS.

    Public unicast addresses, and those in networks that the operator named. ValueError where it is none.
    """
    ip = _ip(address)
    if is_plain and not ip.is_loopback:
        return False
    if any(ip in network for network in rules.networks):
        return True
    if ip.is_multicast or ip.is_reserved or any(ip in network for network in (*_DISGUISES, *_CLOSED)):
        return False
    return ip.is_global


def is_named(address: str, rules: NoticeRules) -> bool:
    """Whether the operator named a network that holds this IP address."""
    return any(_ip(address) in network for network in rules.networks)


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, of an IPv4 address in IPv6's clothes that one. Raises ValueError."""
    ip = ipaddress.ip_address(address)
    return ip if isinstance(ip, ipaddress.IPv4Address) else ip.ipv4_mapped or ip

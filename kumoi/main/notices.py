"""How notices leave this plane: what its settings allow, and its mail relay."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from kumoi.core.notice_addresses import NoticeRules, is_mail_address, networks_parse
from kumoi.loops.notice_mails import MailRelay
from kumoi.loops.notice_sending import Trust
from kumoi.loops.notices import NoticeWays
from kumoi.model.settings import Settings

_PORTS = {"smtp": 587, "smtps": 465}


def notice_ways_build(settings: Settings) -> NoticeWays:
    """What the settings say. Raises ValueError or OSError where they, or a file that they name, are wrong."""
    try:
        networks = networks_parse(settings.notice_networks)
    except ValueError as error:
        raise ValueError(f"notice_networks must be networks such as 10.1.0.0/16: {error}") from None
    trust = Trust(settings.notice_ca_file)
    if settings.notice_ca_file:
        _certificates_check(settings.notice_ca_file)
    relay = _relay(settings, trust) if settings.smtp_url else None
    return NoticeWays(NoticeRules(networks, has_mail=relay is not None), trust, relay)


def _certificates_check(path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} must hold certificates in PEM: {error.reason or error}") from None


def _relay(settings: Settings, trust: Trust) -> MailRelay:
    url = urlsplit(settings.smtp_url)
    if url.scheme not in _PORTS or not url.hostname or url.username or url.path.strip("/"):
        raise ValueError(
            "smtp_url must be smtp://HOST[:PORT] or smtps://HOST[:PORT]; "
            "user and password go to smtp_login_file"
        )
    if not is_mail_address(settings.smtp_from):
        raise ValueError(f"smtp_from must be the address that mail comes from, not {settings.smtp_from!r}")
    return MailRelay(
        host=url.hostname,
        port=url.port or _PORTS[url.scheme],
        sender=settings.smtp_from,
        trust=trust,
        is_tls=url.scheme == "smtps",
        is_starttls=settings.smtp_starttls,
        login=_login(settings.smtp_login_file) if settings.smtp_login_file else None,
    )


def _login(path: str) -> tuple[str, str]:
    """User and password, a line each."""
    lines = Path(path).read_text("utf-8").splitlines()
    if len(lines) != 2 or not all(lines):
        raise ValueError(f"{path} must hold two lines: user and password")
    return lines[0], lines[1]

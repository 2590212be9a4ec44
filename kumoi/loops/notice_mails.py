"""Notices by mail: one relay of the operator's, TLS, and a Message-ID that stays the same at every try."""

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any

from kumoi.loops.notice_sending import LANGUAGES, SEND_S, Notice, NotSent, Trust
from kumoi.model.time import time_format


@dataclass(frozen=True, slots=True)
class MailRelay:
    """The server that takes our mail. With `is_tls` from the first byte; else after STARTTLS, where asked."""

    host: str
    port: int
    sender: str
    trust: Trust
    is_tls: bool = False
    is_starttls: bool = True
    login: tuple[str, str] | None = field(default=None, repr=False)


def mail_send(relay: MailRelay, address: str, notice: Notice, target_id: str) -> None:
    """Hand the notice to the relay. Raises NotSent unless it is taken in time."""
    message = mail_make(relay.sender, address, notice, target_id)
    try:
        with _connected(relay) as smtp:
            if relay.login is not None:
                smtp.login(*relay.login)
            smtp.send_message(message, relay.sender, [address])
    except smtplib.SMTPRecipientsRefused as error:
        raise NotSent(f"the mail server refuses the address: {error.recipients[address][0]}") from error
    except smtplib.SMTPNotSupportedError as error:
        raise NotSent("the mail server offers no STARTTLS or no login") from error
    except smtplib.SMTPResponseException as error:
        raise NotSent(f"the mail server answered {error.smtp_code}") from error
    except ssl.SSLError as error:
        raise NotSent("the mail server's certificate does not verify") from error
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise NotSent("the mail server does not answer") from error


def mail_make(sender: str, address: str, notice: Notice, target_id: str) -> EmailMessage:
    """The message, in both languages; the same at every try."""
    domain = sender.rpartition("@")[2]
    message = EmailMessage(SMTP)
    message["From"] = sender
    message["To"] = address
    message["Subject"] = f"[{notice.region}] " + " / ".join(notice.titles[one] for one in LANGUAGES)
    message["Date"] = format_datetime(datetime.fromisoformat(time_format(notice.created_us)))
    message["Message-ID"] = f"<{notice.id}.{target_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    detail = "".join(f"{name}: {value}\n" for name, value in notice.detail.items())
    text = "\n\n".join(notice.texts[one] for one in LANGUAGES)
    message.set_content(f"{text}\n\n{detail}{notice.event_id}\n{notice.link}\n", cte="base64")
    return message


class _Timed(smtplib.SMTP):
    """A connection that is cut when the time is up: a timeout bounds one read, not all."""

    _cut: threading.Timer | None = None

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: Any = None
    ) -> tuple[int, bytes]:
        self._cut = threading.Timer(SEND_S, self._end)
        self._cut.daemon = True
        self._cut.start()
        try:
            return super().connect(host, port, source_address)
        except BaseException:
            self._cut.cancel()
            raise

    def close(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
        super().close()

    def _end(self) -> None:
        connection = self.sock
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _TimedTls(_Timed, smtplib.SMTP_SSL):
    """The same, with TLS from the first byte."""


@contextlib.contextmanager
def _connected(relay: MailRelay) -> Iterator[smtplib.SMTP]:
    """A connection to the relay, with TLS."""
    name = relay.sender.rpartition("@")[2]
    smtp = (
        _TimedTls(relay.host, relay.port, name, timeout=SEND_S, context=relay.trust.context)
        if relay.is_tls
        else _Timed(relay.host, relay.port, name, timeout=SEND_S)
    )
    try:
        if not relay.is_tls and relay.is_starttls:
            smtp.starttls(context=relay.trust.context)
        yield smtp
        # What was taken stays taken, however the server says good-bye.
        with contextlib.suppress(smtplib.SMTPException, OSError):
            smtp.quit()
    finally:
        smtp.close()

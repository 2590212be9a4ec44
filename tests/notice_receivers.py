"""Those whom notices reach: a webhook's receiver and a mail server, each a process of its own.

    python notice_receivers.py webhook JOURNAL [CERTIFICATE]
    python notice_receivers.py mail JOURNAL [CERTIFICATE]

Each says its port, and writes what it got to JOURNAL as JSON lines. A webhook's path, or the local part of a
mail address, says how it behaves: `lose` takes a notice and loses its answer the first time, `stall` does not
answer the first time, `hang` never; `trickle` answers a byte at a time, `endless` answers without end,
`redirect` leads to `ok`, `fail` and `refuse` do not take it.
"""

import asyncio
import base64
import http.server
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

WAIT_S = 20
LOGIN = ("kumoi", "hush hush")


class Receiver:
    """A receiver's process and its journal."""

    def __init__(self, kind: str, directory: Path, certificate: Path | None = None) -> None:
        self.journal = directory / f"{kind}.jsonl"
        self.journal.touch()
        words = [sys.executable, __file__, kind, str(self.journal)]
        self.process = subprocess.Popen(
            words + ([str(certificate)] if certificate else []), stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.scheme = "http" if certificate is None else "https"

    def url(self, path: str) -> str:
        return f"{self.scheme}://localhost:{self.port}/{path}"

    def got(self) -> list[dict[str, Any]]:
        """What came so far, in its order."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def mails(self) -> list[EmailMessage]:
        """The same as mails."""
        taken = [base64.b64decode(one["mail"]) for one in self.got()]
        return [message_from_bytes(one, policy=policy.default) for one in taken]  # type: ignore[arg-type]

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


def certificate_make(directory: Path) -> Path:
    """A certificate for `localhost` with its key, signed by itself, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def _tls(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _write(journal: Path, entry: dict[str, Any]) -> None:
    with journal.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def webhook_serve(journal: Path, certificate: str | None) -> None:
    """Take notices over HTTP until killed."""
    seen: Counter[str] = Counter()
    lock, never = threading.Lock(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            entry = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}
            with lock:
                _write(journal, entry | {"body": base64.b64encode(body).decode()})
                seen[self.headers["webhook-id"]] += 1
                times = seen[self.headers["webhook-id"]]
            self.close_connection = True
            getattr(self, self.path.partition("?")[0].strip("/"))(times)

        def ok(self, _times: int) -> None:
            self.answer(204)

        def lose(self, times: int) -> None:
            if times > 1:
                self.answer(204)

        def stall(self, times: int) -> None:
            if times == 1:
                never.wait()
            self.answer(204)

        def fail(self, _times: int) -> None:
            self.answer(500)

        def hang(self, _times: int) -> None:
            never.wait()

        def redirect(self, _times: int) -> None:
            self.answer(307, location="/ok")

        def trickle(self, _times: int) -> None:
            for byte in b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 10_000:
                self.wfile.write(bytes([byte]))
                never.wait(0.02)

        def endless(self, _times: int) -> None:
            self.answer(200, length=1 << 40)
            while True:
                self.wfile.write(bytes(1 << 16))

        def answer(self, status: int, *, location: str = "", length: int = 0) -> None:
            self.send_response(status)
            self.send_header("content-length", str(length))
            if location:
                self.send_header("location", location)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            return (connection if tls is None else tls.wrap_socket(connection, server_side=True)), address

        def handle_error(self, *_: Any) -> None:
            pass

    tls = None if certificate is None else _tls(certificate)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


async def mail_serve(journal: Path, certificate: str | None) -> None:
    """Take mail until killed; with a certificate only after STARTTLS and a login."""
    lost: set[str] = set()

    class Handler:
        async def handle_RCPT(self, _s: Any, _c: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802
            if address.startswith("refuse@"):
                return "550 nobody of this name"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            mail = base64.b64encode(envelope.original_content).decode()
            entry = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": bool(session.ssl)}
            _write(journal, entry | {"mail": mail})
            (address,) = envelope.rcpt_tos
            if address.startswith("hang@"):
                await asyncio.Event().wait()
            if address.startswith("lose@") and address not in lost:
                lost.add(address)
                server.transport.abort()
            return "250 taken"

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: Any, data: Any) -> AuthResult:
        is_right = (data.login.decode(), data.password.decode()) == LOGIN
        return AuthResult(success=is_right, handled=False)

    def protocol() -> SMTP:
        if certificate is None:
            return SMTP(Handler(), hostname="localhost")
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=_tls(certificate),
            require_starttls=True,
            authenticator=authenticate,
            auth_required=True,
        )

    listening = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(protocol, sock=listening)
    print(listening.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    _, asked, place, *rest = sys.argv
    if asked == "webhook":
        webhook_serve(Path(place), rest[0] if rest else None)
    else:
        asyncio.run(mail_serve(Path(place), rest[0] if rest else None))

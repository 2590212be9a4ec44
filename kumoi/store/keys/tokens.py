"""Tokens (PKCS#11) that hold tenants' keys: each is asked on its own thread, and never waited for long."""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kumoi.store.keys.errors import KeyFailure, TokenFailure

ANSWER_S = 0.4
"""How long a token may take to answer; a key that takes longer counts as not there."""
OPEN_S = 5.0
"""The same where a token is opened for somebody who waits: its module may have to be loaded."""
QUEUE_MAX = 64
PREFIX = "token/"
EVERYBODY = "*"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TokenRule:
    """A token that the operator offers, to the organizations of these names (`*` for all).

    `module` is a PKCS#11 library: it runs inside the plane, which is why no tenant ever names one.
    """

    name: str
    module: Path
    label: str
    pin_file: Path
    organizations: tuple[str, ...]
    has_own_labels: bool = False
    """Whether an organization may name only keys whose label begins with its own name and a dot."""
    is_alone: bool = False
    """Whether no other token is of this module, so that its library may be started anew at any time."""

    def serves(self, organization_name: str) -> bool:
        """Whether the organization of this name may keep its key there."""
        return EVERYBODY in self.organizations or organization_name in self.organizations

    def takes(self, organization_name: str, label: str) -> bool:
        """Whether the organization of this name may name the key of this label."""
        return not self.has_own_labels or label.startswith(f"{organization_name}.")


class PinRefused(TokenFailure):
    """The token refused the PIN. Trying it again and again would lock the token."""


class TokenSession(Protocol):
    """An open, logged-in session. Raises TokenFailure for whatever goes wrong."""

    def check(self, label: str) -> None:
        """Refuse a key that is missing, no AES key of 256 bits, or that could leave the token."""

    def wrap(self, label: str, key: bytes, additional: bytes) -> bytes:
        """AES-256-GCM in the token: nonce, ciphertext and tag."""

    def unwrap(self, label: str, wrapped: bytes, additional: bytes) -> bytes:
        """What `wrap` wrapped."""

    def close(self) -> None:
        """Log out."""


SessionOpen = Callable[[TokenRule, str], TokenSession]


@dataclass(frozen=True, slots=True)
class Probe:
    """A key to be tried: what it must unwrap, and for whom."""

    organization_id: str
    label: str
    wrapped: bytes
    additional: bytes


class Token:
    """One token. Its session is used by its own thread alone, which may hang without anybody else hanging."""

    def __init__(self, rule: TokenRule, session_open: SessionOpen) -> None:
        self.rule = rule
        self._session_open = session_open
        self._session: TokenSession | None = None
        self._pin_refused: str | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._queue: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue(QUEUE_MAX)

    def call(self, work: Callable[[TokenSession], T], deadline_s: float = ANSWER_S) -> T:
        """What `work` does with the session. Raises TokenFailure, at the deadline too."""
        return self.result(self._submit(lambda: self._guarded(work)), deadline_s)

    def result(self, asked: "Future[T]", deadline_s: float) -> T:
        """The answer to something asked. Raises TokenFailure."""
        try:
            return asked.result(max(deadline_s, 0.0))
        except TimeoutError:
            asked.cancel()
            raise TokenFailure(
                f"the token {self.rule.name} did not answer in {ANSWER_S} s; see whether it is there"
            ) from None

    def probe(self, probes: Sequence[Probe]) -> "Future[dict[str, str]]":
        """Log in anew and try keys: what is wrong, by organization; nothing where the key is fine.

        The login is part of it: a session that is open already would outlive a PIN that was changed.
        """
        return self._submit(lambda: self._probed(probes))

    def close(self) -> None:
        """Log out, if the token answers: a module knows one login of a process for each token."""
        with suppress(TokenFailure):
            self.result(self._submit(self._close), ANSWER_S)

    def _probed(self, probes: Sequence[Probe]) -> dict[str, str]:
        self._close()
        return {one.organization_id: wrong for one in probes if (wrong := self._tried(one))}

    def _tried(self, probe: Probe) -> str:
        try:
            self._guarded(lambda session: session.unwrap(probe.label, probe.wrapped, probe.additional))
        except KeyFailure as error:
            return str(error)
        return ""

    def _guarded(self, work: Callable[[TokenSession], T]) -> T:
        """On the token's thread: `work` on an open session, which is given up where anything goes wrong."""
        try:
            return work(self._opened())
        except KeyFailure:
            self._close()
            raise
        except Exception as error:
            self._close()
            raise TokenFailure(f"the token {self.rule.name} failed: {type(error).__name__}") from error

    def _opened(self) -> TokenSession:
        if self._session is None:
            pin = self._pin()
            if pin == self._pin_refused:
                raise PinRefused(
                    f"the token {self.rule.name} refused the PIN in {self.rule.pin_file}; "
                    "write the right one there"
                )
            try:
                self._session = self._session_open(self.rule, pin)
            except PinRefused:
                self._pin_refused = pin
                raise
            self._pin_refused = None
        return self._session

    def _pin(self) -> str:
        try:
            return self.rule.pin_file.read_text().strip()
        except OSError as error:
            raise TokenFailure(f"the PIN of the token {self.rule.name} cannot be read: {error}") from error

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _submit(self, work: Callable[[], T]) -> "Future[T]":
        asked: Future[T] = Future()
        with self._lock:
            if self._thread is None:
                name = f"token-{self.rule.name}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait((work, asked))
        except queue.Full:
            raise TokenFailure(f"the token {self.rule.name} does not answer") from None
        return asked

    def _run(self) -> None:
        while True:
            work, asked = self._queue.get()
            if not asked.set_running_or_notify_cancel():
                continue
            try:
                asked.set_result(work())
            except BaseException as error:
                asked.set_exception(error)


class TokenKey:
    """A key in a token, as a key-encryption key."""

    def __init__(self, token: Token, label: str) -> None:
        self.token = token
        self.label = label
        self.name = f"{PREFIX}{token.rule.name}/{label}"

    def check(self) -> None:
        """Refuse a key that is missing, of the wrong kind, or that could leave the token."""
        self.token.call(lambda session: session.check(self.label), OPEN_S)

    def wrap(self, key: bytes, additional: bytes) -> bytes:
        """`key`, encrypted in the token and authenticated together with `additional`."""
        return self.token.call(lambda session: session.wrap(self.label, key, additional))

    def unwrap(self, wrapped: bytes, additional: bytes) -> bytes:
        """What `wrap` wrapped. Raises TokenFailure, for what does not open too."""
        return self.token.call(lambda session: session.unwrap(self.label, wrapped, additional))


class Tokens:
    """The tokens that the operator offers, by name."""

    def __init__(self, rules: Sequence[TokenRule], session_open: SessionOpen) -> None:
        of_module = Counter(rule.module for rule in rules)
        self._tokens = {
            rule.name: Token(replace(rule, is_alone=of_module[rule.module] == 1), session_open)
            for rule in rules
        }

    def close(self) -> None:
        """Log out of all."""
        for token in self._tokens.values():
            token.close()

    def get(self, name: str) -> Token | None:
        """The token of this name."""
        return self._tokens.get(name)

    def find(self, kek: str) -> TokenKey:
        """The key that rows call `kek`. Raises TokenFailure."""
        name, _, label = kek.removeprefix(PREFIX).partition("/")
        token = self._tokens.get(name)
        if token is None:
            raise TokenFailure(f"the token {name} is not in tokens_file; its operator has taken it out")
        return TokenKey(token, label)

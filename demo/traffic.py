"""A bursty minute of requests to a service, as from many users, with the replicas that follow shown live."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kumoi.client.clients import Kumoi
from kumoi.model.services import Service

CALM_PER_S = 3.0
BURST_PER_S = 30.0
BURSTS_S = ((12, 22), (34, 46))
USERS = 160
REQUEST_S = 40.0
LOOK_S = 0.5
_BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(slots=True)
class Heard:
    """What the users heard back. Times in seconds."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: requests sent since the last one, and replicas."""

    sent: int
    ready: int
    wanted: int


def arrivals(length_s: float, seed: int) -> list[float]:
    """When requests are sent, in seconds from the start: a Poisson process with two bursts."""
    draw = random.Random(seed)
    at_s = 0.0
    times: list[float] = []
    while True:
        is_burst = any(begin <= at_s < end for begin, end in BURSTS_S)
        at_s += draw.expovariate(BURST_PER_S if is_burst else CALM_PER_S)
        if at_s >= length_s:
            return times
        times.append(at_s)


def ask(host: str, port: int, path: str, heard: Heard) -> None:
    """Send one request on a connection of its own, and note what came back."""
    began_s = time.perf_counter()
    connection = http.client.HTTPConnection(host, port, timeout=REQUEST_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        problem = "" if answer.status == http.HTTPStatus.OK else f"{answer.status}: {body[:200]!r}"
    except (OSError, http.client.HTTPException) as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    with heard.lock:
        if problem:
            heard.lost.append(problem)
        else:
            heard.answered += 1
            heard.waits_s.append(time.perf_counter() - began_s)


def replay(
    client: Kumoi, service: str, gateway: tuple[str, int], path: str, *, length_s: float, console: Console
) -> tuple[Heard, list[Seen]]:
    """Send the minute's requests when they are due, looking at the service in between."""
    heard, looks = Heard(), [_look(client.services.get(service), 0)]
    times = arrivals(length_s, seed=1)
    began_s = time.perf_counter()
    sent = shown = 0
    with (
        _users() as users,
        Live(console=console, transient=not console.is_terminal, auto_refresh=False) as live,
    ):
        pending = []
        while sent < len(times):
            now_s = time.perf_counter() - began_s
            while sent < len(times) and times[sent] <= now_s:
                pending.append(users.submit(ask, *gateway, path, heard))
                sent += 1
            if now_s >= LOOK_S * len(looks):
                looks.append(_look(client.services.get(service), sent - shown))
                shown = sent
                live.update(chart(looks), refresh=True)
            wait(pending[-1:], timeout=min(LOOK_S / 10, max(0.0, times[min(sent, len(times) - 1)] - now_s)))
        wait(pending, timeout=REQUEST_S)
        live.update(chart(looks), refresh=True)
    return heard, looks


@contextmanager
def _users() -> Iterator[ThreadPoolExecutor]:
    """As many as may wait at once. Nobody waits for their answers when the minute is broken off."""
    users = ThreadPoolExecutor(USERS)
    try:
        yield users
    finally:
        users.shutdown(wait=False, cancel_futures=True)


def _look(service: Service, sent: int) -> Seen:
    return Seen(sent, service.ready, service.wanted)


def chart(looks: list[Seen]) -> Text:
    """Requests and replicas over time, one column a look."""
    sent = [look.sent for look in looks]
    ready = [look.ready for look in looks]
    text = Text("  requests ")
    text.append(_bars(sent), style="cyan")
    text.append(f" {sent[-1] / LOOK_S:.0f}/s\n  replicas ")
    text.append(_bars(ready), style="green")
    text.append(f" {ready[-1]} ready of {looks[-1].wanted} wanted")
    return text


def _bars(values: list[int]) -> str:
    most = max(1, *values)
    return "".join(_BLOCKS[-(-value * (len(_BLOCKS) - 1) // most)] for value in values[-120:])

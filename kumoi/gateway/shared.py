"""What the connections from outside share: where requests go, and who is there."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from kumoi.gateway.connecting import Connector
from kumoi.gateway.heads import RequestHead
from kumoi.gateway.services import Replica, Service
from kumoi.gateway.traffic import Traffic
from kumoi.gateway.upstream import Upstream

SERVICE_HEADER: Final = b"x-kumoi-service"


class Connected(Protocol):
    """A connection from outside. `between`: it waits for a request; `deadline` is of the loop's clock."""

    between: bool
    deadline: float

    def overdue(self) -> None:
        """Its deadline has passed."""

    def look(self) -> None:
        """See whether the client is still there."""

    def close(self) -> None:
        """End it once what was written is sent."""


@dataclass
class Shared:
    """`draining`: each request is its connection's last.

    `unread` are connections whose bytes stay in the kernel while they wait for a slot, and some that were.
    """

    traffic: Traffic
    connector: Connector
    loop: asyncio.AbstractEventLoop
    clients: set[Connected] = field(default_factory=set)
    unread: set[Connected] = field(default_factory=set)
    draining: bool = False

    def route(self, request: RequestHead, *, trusted: bool) -> tuple[Service | None, bytes]:
        """Whose request it is, and the path as the service shall see it."""
        traffic = self.traffic
        if trusted and SERVICE_HEADER in request.ours:
            return traffic.services.get(request.ours[SERVICE_HEADER].decode("latin-1")), request.path
        found = traffic.router.find(request.host, request.path)
        if found is None:
            return None, b""
        return traffic.services.get(found[0].id), found[1]

    def idle_take(self, replica: Replica, *, repeatable: bool) -> Upstream | None:
        """A connection that is open; a request that cannot be repeated gets one that was just used."""
        now = self.loop.time()
        while replica.idle:
            upstream = cast(Upstream, replica.idle.pop())
            if upstream.usable(now, repeatable):
                return upstream
            upstream.close()
        return None

"""The activator: an HTTP/1.1 proxy that holds requests until a replica is ready, and passes them on.

A `Client` (clients.py) is a connection from outside, an `Upstream` (upstream.py) one to a replica. Bodies
flow both ways as they come, and a slow reader slows its writer. What a replica cannot be asked twice is asked
once.
"""

import asyncio
from typing import cast

from kumoi.gateway.clients import Client
from kumoi.gateway.connecting import Connector
from kumoi.gateway.shared import Shared
from kumoi.gateway.traffic import Traffic
from kumoi.gateway.upstream import Upstream

DRAIN_STEP_S = 0.02


class Activator:
    """Makes the connections' protocols, and ends what has been silent for too long."""

    def __init__(self, traffic: Traffic, connector: Connector, loop: asyncio.AbstractEventLoop) -> None:
        self.shared = Shared(traffic, connector, loop)

    def protocol(self) -> Client:
        """For connections from anybody."""
        return Client(self.shared, trusted=False)

    def protocol_trusted(self) -> Client:
        """For connections from our own HAProxy, which has said who the client is."""
        return Client(self.shared, trusted=True)

    def sweep(self) -> None:
        """End what has been silent for too long, and what waits for clients that have left."""
        now = self.shared.loop.time()
        for client in [client for client in self.shared.clients if client.deadline <= now]:
            client.overdue()
        for client in list(self.shared.unread):
            client.look()
        for service in self.shared.traffic.services.values():
            for replica in service.replicas.values():
                while replica.idle and cast(Upstream, replica.idle[0]).stale(now):
                    replica.idle.pop(0).close()

    async def drain(self, timeout_s: float) -> None:
        """Finish what is in flight, for so long at most; then end every connection."""
        shared = self.shared
        shared.draining = True
        end = shared.loop.time() + timeout_s
        while shared.clients and shared.loop.time() < end:
            for client in [client for client in shared.clients if client.between]:
                client.close()
            await asyncio.sleep(DRAIN_STEP_S)
        for client in list(shared.clients):
            client.close()

"""The plane's view of serving attempts: where they are reached, and names that nobody took away."""

import os
from collections.abc import Iterable, Mapping
from hashlib import blake2s
from pathlib import Path

from kumoi.engines.sandbox import records, serving
from kumoi.model.routes import Endpoint

LOOPBACK = "127.0.0.1"
_DIGEST_BYTES = 8


class Networks:
    """The names below /run/netns of one engine in one region: `kumoi-<who>-<attempt>`, 31 characters.

    Both parts are hashes, so that a name is short whatever the reference is, and so that two planes on one
    machine never touch each other's.
    """

    def __init__(self, layout: records.Layout, engine: str, incarnation: str) -> None:
        self._layout = layout
        who = blake2s(f"{engine}/{incarnation}".encode(), digest_size=_DIGEST_BYTES // 2).hexdigest()
        self.prefix = f"kumoi-{who}-"

    def name(self, ref: str) -> str:
        """The name of an attempt's network."""
        return self.prefix + blake2s(ref.encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def endpoints(self, refs: Iterable[str]) -> Mapping[str, Endpoint]:
        """Where these attempts are reached, as far as they run and have a network by now."""
        found = {}
        for ref in refs:
            if os.path.lexists(f"{self._layout.live}/{ref}"):
                note = records.json_read(f"{self._layout.attempt(ref)}/network") or {}
                endpoint = _endpoint(note)
                if endpoint is not None:
                    found[ref] = endpoint
        return found

    def take_away(self, ref: str) -> None:
        """Take away the name of an attempt's network, unless it is live."""
        if not os.path.lexists(f"{self._layout.live}/{ref}"):
            serving.network_unbind(f"{serving.NETWORKS}/{self.name(ref)}")

    def sweep(self) -> None:
        """Take away the names of attempts that are over: their supervisors were killed.

        An attempt is live before its name is there and until it is gone, so names are listed first.
        """
        try:
            names = {place.name for place in Path(serving.NETWORKS).iterdir()}
        except FileNotFoundError:
            return
        ours = {name for name in names if name.startswith(self.prefix)}
        if ours:
            for name in ours - {self.name(place.name) for place in Path(self._layout.live).iterdir()}:
                serving.network_unbind(f"{serving.NETWORKS}/{name}")


def _endpoint(note: Mapping[str, object]) -> Endpoint | None:
    """The endpoint that a supervisor noted; None if it is gone or somebody else's by now."""
    netns, userns, port = note.get("netns"), note.get("userns"), note.get("port")
    if not (isinstance(netns, str) and isinstance(userns, str) and isinstance(port, int)):
        return None
    try:
        same = Path(netns).stat().st_ino == note.get("inode")
    except OSError:
        return None
    return Endpoint(LOOPBACK, port, netns, userns) if same else None

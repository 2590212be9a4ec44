"""Which images are on this host, and getting those that the operator's registries have."""

import json
import threading
import time
from dataclasses import dataclass

from kumoi.engines.base import EngineError, EngineUnavailable, StartRefused
from kumoi.engines.podman.storage import PodmanStorage

PULL_TIMEOUT_S = 1_800.0
PULLS_MAX = 2
FRESH_S = 30.0
"""How long a list of images, or a failed pull, is believed."""


@dataclass(slots=True)
class _Pull:
    """A pull: under way while `failed_at` is None."""

    why: str = ""
    failed_at: float | None = None


class Images:
    """The images of one storage, by NAME@sha256:HEX: no tag is ever looked at."""

    def __init__(self, storage: PodmanStorage) -> None:
        self._storage = storage
        self._present: frozenset[str] = frozenset()
        self._listed_at: float | None = None
        self._pulls: dict[str, _Pull] = {}
        self._slots = threading.Semaphore(PULLS_MAX)
        self._lock = threading.Lock()

    def problem(self, image: str) -> EngineError | None:
        """Why the image cannot be used: StartRefused if it never can, EngineUnavailable if not now."""
        try:
            if self._is_present(image):
                return None
        except EngineError as error:
            return EngineUnavailable(f"the images of this host cannot be listed ({error})")
        registry = image.partition("/")[0]
        if registry not in self._storage.registries:
            return StartRefused(
                f"the image {image} is not on this host, and {registry} is not one of the registries that "
                "it may be pulled from; ask the operator to load the image here, or to allow the registry"
            )
        return self._pull_ensure(image)

    def _is_present(self, image: str) -> bool:
        with self._lock:
            now = time.monotonic()
            fresh = self._listed_at is not None and now - self._listed_at < FRESH_S
            if fresh and image in self._present:
                return True
            listed = json.loads(self._storage.image_call("images", "--digests", "--format", "json") or "[]")
            self._present = frozenset(name for row in listed for name in row.get("RepoDigests") or ())
            self._listed_at = now
            return image in self._present

    def _pull_ensure(self, image: str) -> EngineError:
        with self._lock:
            pull = self._pulls.get(image)
            if pull is not None and pull.failed_at is not None:
                if time.monotonic() - pull.failed_at < FRESH_S:
                    return StartRefused(f"the image {image} cannot be pulled: {pull.why}")
                pull = None
            if pull is None and self._slots.acquire(blocking=False):
                self._pulls[image] = _Pull()
                threading.Thread(target=self._pull, args=(image,), name="podman-pull", daemon=True).start()
        return EngineUnavailable(f"the image {image} is being pulled; ask again")

    def _pull(self, image: str) -> None:
        failed = None
        try:
            self._storage.image_call("pull", "--quiet", image, timeout_s=PULL_TIMEOUT_S)
        except EngineError as error:
            failed = _Pull(str(error), time.monotonic())
        finally:
            self._slots.release()
        with self._lock:
            del self._pulls[image]
            if failed is not None:
                self._pulls[image] = failed

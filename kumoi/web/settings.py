"""The limits of the web room. Sizes are in bytes, times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What a request may take at most; the sizes of bodies are in the table of routes."""

    request_timeout_s: float = 30.0
    transfer_timeout_s: float = 3_600.0
    chunk_timeout_s: float = 30.0
    heartbeat_s: float = 15.0
    watchers_max: int = 100
    organization_watchers_max: int = 20
    header_bytes_max: int = 64 << 10
    access_log_flush_s: float = 0.5

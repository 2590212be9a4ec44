"""The public Python SDK.

    with Kumoi("http://127.0.0.1:8080", token) as client:
        job = client.jobs.create(project, JobSpec(("python3", "train.py")))
        print(client.jobs.wait(job.id).state)

`AsyncKumoi` has the same methods as coroutines and asynchronous iterators. Names are loaded when they are
first used, so that importing the errors does not load an HTTP client.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kumoi.client.errors import ClientError, KumoiAPIError, Unreachable, WaitTimeout

if TYPE_CHECKING:
    from kumoi.client.clients import AsyncKumoi, Kumoi

__all__ = ["AsyncKumoi", "ClientError", "Kumoi", "KumoiAPIError", "Unreachable", "WaitTimeout"]


def __getattr__(name: str) -> object:
    if name in {"AsyncKumoi", "Kumoi"}:
        return getattr(import_module("kumoi.client.clients"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

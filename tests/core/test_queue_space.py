"""What a host has left serves all requests of a task together, as placement would give it."""

import pytest

from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.snapshot import DeviceView, HostView, PoolView, TaskView
from kumoi.core.queue.space import Space
from kumoi.model.jobs import DeviceRequest


@pytest.mark.parametrize(
    ("wishes", "fits"),
    [
        # The first request takes the other model, so that the second finds its own.
        ((DeviceRequest("gpu", 1, ("A100", "H200")), DeviceRequest("gpu", 1, ("A100",))), True),
        ((DeviceRequest("gpu", 1, ("A100",)), DeviceRequest("gpu", 1, ("A100", "H200"))), True),
        ((DeviceRequest("gpu", 1), DeviceRequest("gpu", 1, ("A100",), 500)), True),
        ((DeviceRequest("gpu", 1, ("A100",)), DeviceRequest("gpu", 1, ("A100",))), False),
        ((DeviceRequest("gpu", 2), DeviceRequest("gpu", 1, (), 100)), False),
    ],
)
def test_several_requests_fit_where_placement_would_fit_them(
    wishes: tuple[DeviceRequest, ...], fits: bool
) -> None:
    devices = (DeviceView("dev_1", "gpu", "A100"), DeviceView("dev_2", "gpu", "H200"))
    host = HostView("host_1", "host-1", 0, 8_000, 100, devices=devices)
    task = TaskView("task_1", "job_1", "org_a", 1_000, 10, devices=wishes)
    space = Space(host)
    assert space.fits(task) is fits
    assert space.take(task) is fits
    placer = PoolPlacer(PoolView("pool_1"), "best_fit")
    placer.hosts_put([host])
    assert bool(placer.place([task], 0)[0]) is fits

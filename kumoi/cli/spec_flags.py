"""From flags to the parts that the specifications of jobs and services share."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import click

from kumoi.cli.command import option
from kumoi.cli.language import _
from kumoi.cli.text import cpu_parse, duration_parse, memory_parse
from kumoi.model.jobs import DEVICE_MILLI, IMAGE_PATTERN, WorkClass
from kumoi.model.places import IsolationClass

_IMAGE = re.compile(IMAGE_PATTERN)
SHARED: Final = {
    "file": option(
        "-f",
        "--file",
        "spec_file",
        metavar="FILE",
        help="Specification in JSON or TOML; - is JSON on standard input.",
    ),
    "environment": option(
        "-e",
        "--env",
        "environment",
        multiple=True,
        metavar="NAME=VALUE",
        help="Environment variable; may be repeated.",
    ),
    "secrets": option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="FILE=SECRET",
        help="Put a secret into /run/secrets/FILE; may be repeated.",
    ),
    "cpu": option("--cpu", metavar="N", help="CPUs of each task: 2, 0.5, 500m."),
    "memory": option(
        "--memory", metavar="SIZE", help="Memory of each task: 512Mi, 2G. A task over it is ended."
    ),
    "disk": option("--disk", metavar="SIZE", help="Disk of each task: 10G."),
    "processes": option("--processes", type=click.IntRange(1), help="Most processes of each task."),
    "devices": option(
        "--device",
        "devices",
        multiple=True,
        metavar="KIND[:COUNT[:MODEL[/PARTITION]]]",
        help="Devices for each task, 0.5 is a share of one; may be repeated.",
    ),
    "priority": option("--priority", type=int, help="Higher goes first, within the organization."),
    "work_class": option(
        "--class",
        "work_class",
        type=click.Choice([str(c) for c in WorkClass]),
        help="What happens when capacity is short.",
    ),
    "pool": option("--pool", help="Only on machines of this pool."),
    "sites": option("--site", "sites", multiple=True, help="Only at this site; may be repeated."),
    "jurisdictions": option(
        "--jurisdiction",
        "jurisdictions",
        multiple=True,
        metavar="COUNTRY",
        help="Only in this country (JP); may be repeated.",
    ),
    "latency": option(
        "--latency", multiple=True, metavar="PLACE=MS", help="Only so near to a place; may be repeated."
    ),
    "isolation": option(
        "--isolation",
        type=click.Choice([str(c) for c in IsolationClass]),
        help="What must stand between this and other organizations' work, at least.",
    ),
    "dedicated": option("--dedicated", is_flag=True, help="Only on hosts dedicated to the organization."),
    "reservation": option("--reservation", metavar="NAME", help="Only on the hosts of this reservation."),
}
"""The flags that jobs and services have in common, by what they give."""


def image_check(image: str) -> str:
    """`image` where it names one. Raises BadParameter."""
    if not _IMAGE.fullmatch(image):
        raise click.BadParameter(
            _("{image} names no image by digest; write NAME@sha256:HEX, tags are not taken").format(
                image=image
            )
        )
    return image


def resources_parse(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `resources` that flags give. Raises BadParameter."""
    parsed = {
        "cpu_milli": cpu_parse(flags["cpu"]) if flags.get("cpu") else None,
        "memory_bytes": memory_parse(flags["memory"]) if flags.get("memory") else None,
        "wall_time_s": int(duration_parse(flags["wall_time"])) if flags.get("wall_time") else None,
        "disk_bytes": memory_parse(flags["disk"]) if flags.get("disk") else None,
        "processes": flags.get("processes"),
        "devices": [_device(text) for text in flags.get("devices", ())] or None,
    }
    return {name: value for name, value in parsed.items() if value is not None}


def rules_parse(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `rules` that flags give. Raises BadParameter."""
    over, _colon, most = (flags.get("spread") or "").partition(":")
    if most and not most.isdecimal():
        raise click.BadParameter(_("{text} is no spread; write host or failure_domain:4").format(text=over))
    latencies = latencies_parse(flags.get("latency", ()))
    given = {
        "sites": list(flags.get("sites", ())) or None,
        "jurisdictions": list(flags.get("jurisdictions", ())) or None,
        "latency": [{"to": to, "max_ms": ms} for to, ms in latencies.items()] or None,
        "isolation": flags.get("isolation"),
        "spread": {"over": over, **({"most": int(most)} if most else {})} if over else None,
        "gang_within": flags.get("gang_within"),
        "dedicated": flags.get("dedicated") or None,
        "reservation": flags.get("reservation"),
    }
    return {name: value for name, value in given.items() if value is not None}


def values_merge(spec: dict[str, Any], name: str, values: dict[str, Any]) -> None:
    """Put values over those of a part of a specification."""
    if values:
        spec[name] = {**spec.get(name, {}), **values}


def _device(text: str) -> dict[str, Any]:
    kind, _colon, rest = text.partition(":")
    count, _colon, rest = rest.partition(":")
    model, _slash, partition = rest.partition("/")
    try:
        amount = Decimal(count or "1")
    except InvalidOperation:
        amount = Decimal(0)
    amount = amount if amount.is_finite() else Decimal(0)
    milli = amount * DEVICE_MILLI
    is_share = 0 < amount < 1 and milli == int(milli)
    if not is_share and (amount < 1 or amount != int(amount)):
        raise click.BadParameter(
            _("{text} is no device; write gpu, gpu:2, gpu:0.5 or gpu:2:MODEL").format(text=text)
        )
    request: dict[str, Any] = {"kind": kind, "count": 1 if is_share else int(amount)}
    if is_share:
        request["milli"] = int(milli)
    if model:
        request["models"] = [model]
    if partition:
        request["partition"] = partition
    return request


def latencies_parse(given: Sequence[str]) -> dict[str, int]:
    """Milliseconds by place, from `PLACE=MS`."""
    pairs = pairs_parse(given)
    if not all(text.isdecimal() for text in pairs.values()):
        raise click.BadParameter(_("a latency is in whole milliseconds: tokyo=10"))
    return {to: int(text) for to, text in pairs.items()}


def pairs_parse(given: Sequence[str]) -> dict[str, str]:
    """Values by name, from `NAME=VALUE`. Raises BadParameter."""
    pairs = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(_("{text} has no =; write NAME=VALUE").format(text=text))
        pairs[name] = value
    return pairs

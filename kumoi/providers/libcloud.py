"""Machines of other clouds through Apache Libcloud: EC2 and whatever speaks its dialect, and OpenStack.

The tag and, where the provider knows one, the idempotency token go with the request that makes the machine,
so that there is no moment at which a machine is paid for and unknown. EC2: `ClientToken` and
`TagSpecification` of RunInstances. OpenStack: server metadata; Nova has no such token, so what a lost answer
made is found by its metadata before anything is asked for again, and of two the younger is ended.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from kumoi.providers.base import (
    MachinePhase,
    MachineSeen,
    MachineSpec,
    MachineTag,
    ProviderError,
    ProviderFull,
    ProviderRefused,
    ProviderUnavailable,
)

TIMEOUT_S = 20
TAG_REGION, TAG_INCARNATION, TAG_MACHINE = "kumoi-region", "kumoi-incarnation", "kumoi-machine"
_PHASES = {
    "running": MachinePhase.RUNNING,
    "pending": MachinePhase.PENDING,
    "terminated": MachinePhase.GONE,
    "shutting-down": MachinePhase.ENDING,
}
# EC2 answers everything with 400; what is in its error code says what may be done about it.
_FULL = (
    "InsufficientInstanceCapacity",
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "RequestLimitExceeded",
    "No valid host",
    "Quota exceeded",
)

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """Where a provider is and who we are there. `secret` is never shown."""

    region: str
    host: str = ""
    port: int = 0
    secure: bool = True
    user: str = ""
    secret: str = ""
    project: str = ""
    domain: str = "Default"

    def __repr__(self) -> str:
        return f"Access(region={self.region!r}, host={self.host!r})"


class _Dialect(Protocol):
    """What differs between providers that Libcloud reaches."""

    def open(self, access: Access) -> Any:
        """A driver. Libcloud's are not safe to share between threads."""

    def make(self, driver: Any, spec: MachineSpec) -> Any:
        """Ask for a machine with tag and token."""

    def nodes(self, driver: Any, tags: dict[str, str]) -> Sequence[Any]:
        """The machines that carry the tags."""

    def tags(self, node: Any) -> dict[str, str]:
        """What a machine carries."""


class Ec2:
    """EC2 and its like."""

    def open(self, access: Access) -> Any:
        """See `_Dialect`. Version 4 of the signature, over everything that is sent."""
        options: dict[str, Any] = {"region": access.region, "signature_version": "4", "timeout": TIMEOUT_S}
        if access.host:
            options |= {"host": access.host, "port": access.port, "secure": access.secure}
        providers = import_module("libcloud.compute.providers")
        return providers.get_driver("ec2")(access.user, access.secret, **options)

    def make(self, driver: Any, spec: MachineSpec) -> Any:
        """See `_Dialect`."""
        base = import_module("libcloud.compute.base")
        options: dict[str, Any] = {}
        if spec.network is not None:
            options["ex_subnet"] = _Named(spec.network)
        return driver.create_node(
            name=spec.name,
            size=base.NodeSize(spec.size, spec.size, 0, 0, 0, 0, driver),
            image=base.NodeImage(spec.image, spec.image, driver),
            ex_clienttoken=spec.tag.machine_id,
            ex_metadata=_tags(spec.tag),
            ex_userdata=_user_data(spec.name),
            **options,
        )

    def nodes(self, driver: Any, tags: dict[str, str]) -> Sequence[Any]:
        """See `_Dialect`."""
        found: Sequence[Any] = driver.list_nodes(ex_filters={f"tag:{key}": tags[key] for key in tags})
        return found

    def tags(self, node: Any) -> dict[str, str]:
        """See `_Dialect`."""
        return dict(node.extra.get("tags") or {})


class OpenStack:
    """OpenStack's compute service, version 2.1, with Keystone version 3."""

    def open(self, access: Access) -> Any:
        """See `_Dialect`."""
        scheme = "https" if access.secure else "http"
        providers = import_module("libcloud.compute.providers")
        return providers.get_driver("openstack")(
            access.user,
            access.secret,
            ex_force_auth_url=f"{scheme}://{access.host}:{access.port}",
            ex_force_auth_version="3.x_password",
            ex_tenant_name=access.project,
            ex_domain_name=access.domain,
            ex_force_service_region=access.region,
            timeout=TIMEOUT_S,
        )

    def make(self, driver: Any, spec: MachineSpec) -> Any:
        """See `_Dialect`."""
        base = import_module("libcloud.compute.base")
        options: dict[str, Any] = {}
        if spec.network is not None:
            options["networks"] = [_Named(spec.network)]
        return driver.create_node(
            name=spec.name,
            size=base.NodeSize(spec.size, spec.size, 0, 0, 0, 0, driver),
            image=base.NodeImage(spec.image, spec.image, driver),
            ex_metadata=_tags(spec.tag),
            ex_userdata=_user_data(spec.name),
            **options,
        )

    def nodes(self, driver: Any, tags: dict[str, str]) -> Sequence[Any]:
        """See `_Dialect`. Nova lists by name and state only: the metadata is looked at here."""
        return [node for node in driver.list_nodes() if tags.items() <= self.tags(node).items()]

    def tags(self, node: Any) -> dict[str, str]:
        """See `_Dialect`."""
        return dict(node.extra.get("metadata") or {})


DIALECTS: dict[str, type[Ec2] | type[OpenStack]] = {"ec2": Ec2, "openstack": OpenStack}


class LibcloudProvider:
    """A provider behind Apache Libcloud. Each call opens a driver of its own."""

    def __init__(self, name: str, jurisdiction: str, dialect: _Dialect, access: Access) -> None:
        self.name = name
        self.jurisdiction = jurisdiction
        self._dialect = dialect
        self._access = access

    def machine_ensure(self, spec: MachineSpec) -> MachineSeen:
        """See `Provider`."""

        def work(driver: Any) -> MachineSeen:
            known = self._known(driver, _tags(spec.tag))
            if not known:
                return self._seen(self._dialect.make(driver, spec), spec.tag)
            living = [node for node in known if _phase(node) is not MachinePhase.GONE]
            for double in living[1:]:
                _log.warning("the machine %s was made twice; its double is ended", spec.tag.machine_id)
                driver.destroy_node(double)
            return self._seen((living or known)[0], spec.tag)

        return self._call("ask for a machine", work)

    def machine_list(self, region: str, incarnation: str) -> Sequence[MachineSeen]:
        """See `Provider`."""
        wanted = {TAG_REGION: region, TAG_INCARNATION: incarnation}

        def work(driver: Any) -> Sequence[MachineSeen]:
            living = [n for n in self._known(driver, wanted) if _phase(n) is not MachinePhase.GONE]
            return [self._seen(n, MachineTag(region, incarnation, self._machine_id(n))) for n in living]

        return self._call("list machines", work)

    def machine_release(self, tag: MachineTag) -> None:
        """See `Provider`."""

        def work(driver: Any) -> None:
            for node in self._known(driver, _tags(tag)):
                if _phase(node) not in (MachinePhase.GONE, MachinePhase.ENDING):
                    driver.destroy_node(node)

        self._call("end a machine", work)

    def _known(self, driver: Any, tags: dict[str, str]) -> list[Any]:
        """The machines with the tags, the eldest first."""
        found = self._dialect.nodes(driver, tags)
        return sorted(found, key=lambda node: (str(node.created_at or ""), node.id))

    def _machine_id(self, node: Any) -> str:
        return self._dialect.tags(node).get(TAG_MACHINE, "")

    def _seen(self, node: Any, tag: MachineTag) -> MachineSeen:
        return MachineSeen(tag, str(node.id), _phase(node))

    def _call(self, doing: str, work: Callable[[Any], T]) -> T:
        """Do `work` with a driver; whatever goes wrong becomes an error of ours without a credential."""
        try:
            return work(self._dialect.open(self._access))
        except ProviderError:
            raise
        except Exception as error:
            raise _translate(self.name, doing, error, self._access.secret) from None


@dataclass(frozen=True, slots=True)
class _Named:
    """What Libcloud only takes the id of."""

    id: str


def _tags(tag: MachineTag) -> dict[str, str]:
    return {TAG_REGION: tag.region, TAG_INCARNATION: tag.incarnation, TAG_MACHINE: tag.machine_id}


def _user_data(name: str) -> str:
    """cloud-init sets the name by which the machine's host reports."""
    return f"#cloud-config\nhostname: {name}\npreserve_hostname: false\n"


def _phase(node: Any) -> MachinePhase:
    if node.extra.get("task_state") == "deleting":
        return MachinePhase.ENDING
    return _PHASES.get(str(node.extra.get("status") or node.state).lower(), MachinePhase.PENDING)


def _translate(name: str, doing: str, error: Exception, secret: str) -> ProviderError:
    """The error in our words. Connection errors are not quoted: they may hold a signed address."""
    code = getattr(error, "code", None)
    if type(error).__name__ == "InvalidCredsError" or code == 401:
        return ProviderUnavailable(f"{name} does not know us when asked to {doing}: check the credentials")
    if not isinstance(code, int):
        return ProviderUnavailable(f"{name} could not be asked to {doing}: {type(error).__name__}")
    text = str(getattr(error, "message", "") or error)
    said = (text.replace(secret, "***") if secret else text)[:200]
    if code in (413, 429) or any(word in text for word in _FULL):
        return ProviderFull(f"{name} has none to give when asked to {doing}: {said}")
    if 400 <= code < 500:
        return ProviderRefused(f"{name} refuses to {doing} (HTTP {code}): {said}")
    return ProviderUnavailable(f"{name} failed to {doing} (HTTP {code}): {said}")


def credentials_read(path: Path) -> tuple[str, str]:
    """User and secret from a file of two lines that nobody else may read. ValueError otherwise."""
    if path.stat().st_mode & 0o077:
        raise ValueError(f"others may read {path}, which holds a credential: chmod 600 it")
    lines = path.read_text().split()
    if len(lines) != 2:
        raise ValueError(f"{path} must hold two lines: the user (or access key) and the secret")
    return lines[0], lines[1]

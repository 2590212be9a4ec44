"""The two clients. They have the same groups; only what the methods answer differs."""

from types import TracebackType
from typing import Final, Generic, Self

import httpx

from kumoi.client.access import Organizations, Principals, Projects, RoleBindings, Tokens, whoami
from kumoi.client.capacity import CapacityAccount, CapacityPlans, DeviceModels
from kumoi.client.drivers import AsyncDriver, Endpoint, SyncDriver
from kumoi.client.files import Files
from kumoi.client.groups import D, Group, Operation
from kumoi.client.jobs import Jobs
from kumoi.client.keys import Keys, PlatformKeys
from kumoi.client.log import Log
from kumoi.client.machines import Autoscales, Machines
from kumoi.client.notices import Notices, NoticeTargets
from kumoi.client.operator_access import AccessKeys, AccessRequests, AccessRules
from kumoi.client.places import Hosts, Pools, Sites
from kumoi.client.plans import Plans
from kumoi.client.records import Events, Secrets, Usages, health
from kumoi.client.scalings import Scalings
from kumoi.client.services import Services
from kumoi.client.shares import Budgets, FairShares, Quotas, Rates, Reservations

TIMEOUT_S: Final = 30.0


class _Client(Group[D], Generic[D]):
    """The groups of operations, one per kind of resource."""

    whoami = Operation(whoami)
    health = Operation(health)

    def __init__(self, driver: D) -> None:
        super().__init__(driver)
        self.organizations: Organizations[D] = Organizations(driver)
        self.principals: Principals[D] = Principals(driver)
        self.role_bindings: RoleBindings[D] = RoleBindings(driver)
        self.projects: Projects[D] = Projects(driver)
        self.tokens: Tokens[D] = Tokens(driver)
        self.jobs: Jobs[D] = Jobs(driver)
        self.services: Services[D] = Services(driver)
        self.scalings: Scalings[D] = Scalings(driver)
        self.files: Files[D] = Files(driver)
        self.secrets: Secrets[D] = Secrets(driver)
        self.keys: Keys[D] = Keys(driver)
        self.platform_key: PlatformKeys[D] = PlatformKeys(driver)
        self.sites: Sites[D] = Sites(driver)
        self.pools: Pools[D] = Pools(driver)
        self.autoscales: Autoscales[D] = Autoscales(driver)
        self.machines: Machines[D] = Machines(driver)
        self.hosts: Hosts[D] = Hosts(driver)
        self.plans: Plans[D] = Plans(driver)
        self.capacity: CapacityAccount[D] = CapacityAccount(driver)
        self.capacity_plans: CapacityPlans[D] = CapacityPlans(driver)
        self.device_models: DeviceModels[D] = DeviceModels(driver)
        self.quotas: Quotas[D] = Quotas(driver)
        self.budgets: Budgets[D] = Budgets(driver)
        self.fair_shares: FairShares[D] = FairShares(driver)
        self.rates: Rates[D] = Rates(driver)
        self.reservations: Reservations[D] = Reservations(driver)
        self.access_requests: AccessRequests[D] = AccessRequests(driver)
        self.access_keys: AccessKeys[D] = AccessKeys(driver)
        self.access_rules: AccessRules[D] = AccessRules(driver)
        self.usage: Usages[D] = Usages(driver)
        self.events: Events[D] = Events(driver)
        self.notices: Notices[D] = Notices(driver)
        self.notice_targets: NoticeTargets[D] = NoticeTargets(driver)
        self.log: Log[D] = Log(driver)


class Kumoi(_Client[SyncDriver]):
    """A client that blocks. Use it as a context manager, or `close` it.

    `url` is the plane's, `token` an API token (none for the public log). `timeout_s` bounds each wait for
    the network, not a whole upload. `language` is that of error texts. Raises ArgumentInvalid for a bad URL.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        *,
        language: str = "en",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(SyncDriver(Endpoint(url, token, timeout_s, language), transport))

    def close(self) -> None:
        """Close the connections."""
        self.driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncKumoi(_Client[AsyncDriver]):
    """A client for asyncio, with the same arguments as `Kumoi`. Use it as an asynchronous context manager."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        *,
        language: str = "en",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(AsyncDriver(Endpoint(url, token, timeout_s, language), transport))

    async def close(self) -> None:
        """Close the connections."""
        await self.driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

"""Sites, pools and hosts."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, get, pages, path, post
from kumoi.model.places import Host, HostDedicate, Pool, PoolCreate, Site, SiteCreate


def site_list(*, limit: int | None = None) -> Stream[Site]:
    """Every site of the region."""
    return pages(Site, path("sites"), limit)


def site_create(body: SiteCreate, *, key: str | None = None) -> Flow[Site]:
    """Create a site."""
    return ask(Site, post(path("sites"), body, key))


def pool_list(*, limit: int | None = None) -> Stream[Pool]:
    """Every pool of the region."""
    return pages(Pool, path("pools"), limit)


def pool_create(body: PoolCreate, *, key: str | None = None) -> Flow[Pool]:
    """Create a pool."""
    return ask(Pool, post(path("pools"), body, key))


def pool_pause(pool: str, *, key: str | None = None) -> Flow[Pool]:
    """Hold new work of a pool: it is accepted and waits."""
    return ask(Pool, post(path("pools", pool, "pause"), None, key))


def pool_resume(pool: str, *, key: str | None = None) -> Flow[Pool]:
    """Let a paused pool start work again."""
    return ask(Pool, post(path("pools", pool, "resume"), None, key))


def host_list(pool: str | None = None, *, limit: int | None = None) -> Stream[Host]:
    """Hosts of a pool, or of all."""
    return pages(Host, path("hosts"), limit, pool=pool)


def host_read(host: str) -> Flow[Host]:
    """One host, by id or name."""
    return ask(Host, get(path("hosts", host)))


def host_drain(host: str, *, key: str | None = None) -> Flow[Host]:
    """Give a host no new work; what runs there may end."""
    return ask(Host, post(path("hosts", host, "drain"), None, key))


def host_resume(host: str, *, key: str | None = None) -> Flow[Host]:
    """Give a host work again."""
    return ask(Host, post(path("hosts", host, "resume"), None, key))


def host_dedicate(host: str, organization: str | None, *, key: str | None = None) -> Flow[Host]:
    """Keep a host for one organization's work (id or name), or give it to everybody's again (None)."""
    return ask(Host, post(path("hosts", host, "dedicate"), HostDedicate(organization), key))


def host_declare_lost(host: str, *, key: str | None = None) -> Flow[Host]:
    """Declare a silent host dead: what ran there ends as lost, and may run elsewhere."""
    return ask(Host, post(path("hosts", host, "lost"), None, key))


class Sites(Group[D]):
    """`client.sites`"""

    list = Streaming(site_list)
    create = Operation(site_create)


class Pools(Group[D]):
    """`client.pools`"""

    list = Streaming(pool_list)
    create = Operation(pool_create)
    pause = Operation(pool_pause)
    resume = Operation(pool_resume)


class Hosts(Group[D]):
    """`client.hosts`"""

    list = Streaming(host_list)
    get = Operation(host_read)
    drain = Operation(host_drain)
    resume = Operation(host_resume)
    dedicate = Operation(host_dedicate)
    declare_lost = Operation(host_declare_lost)

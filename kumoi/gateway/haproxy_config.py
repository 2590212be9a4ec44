"""HAProxy's configuration, made from a route table. Pure: text in, text out.

Replicas are not in it: they come and go through the runtime socket, so that queues survive. A service is a
backend; which one a request is for stands in two maps. The activator is every backend's last resort, and gets
what no map names: it may know a newer table.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from kumoi.gateway.counters import BOUNDS_S
from kumoi.gateway.heads import IDEMPOTENT
from kumoi.gateway.routing import PROJECTS, path_prefix
from kumoi.gateway.upstream import IDLE_S
from kumoi.model.routes import ReplicaRoute, ServiceRoute

FIRST_BACKEND_ID: Final = 100
ACTIVATOR: Final = "activator"
NAMESPACES: Final = ("/run/netns/", "/var/run/netns/")
MS: Final = 1_000
REPEATABLE: Final = " ".join(sorted(method.decode() for method in IDEMPOTENT))
PROBLEM: Final = "content-type application/problem+json"
RELAY_NEWS: Final = "relays.news"
BODY_S: Final = 30
"""Within which a body's first 30 KiB, or all of it, must have come; there is no slot for it before."""
COUNT_VIOLATED: Final = 0
COUNT_WAITS: Final = 1
COUNT_TIMES: Final = COUNT_WAITS + len(BOUNDS_S)
COUNT_REFUSED: Final = COUNT_TIMES + len(BOUNDS_S)
COUNTS: Final = COUNT_REFUSED + 1


class Places(Struct, frozen=True):
    """Where HAProxy listens and finds things.

    With an `identity`, a user's and a group's number, it gives up root once it listens, and sees no file but
    the sockets that it connects to.
    """

    listen: str
    directory: Path
    identity: tuple[int, int] | None = None

    @property
    def config(self) -> Path:
        """The configuration itself."""
        return self.directory / "haproxy.cfg"

    @property
    def admin(self) -> Path:
        """The runtime socket."""
        return self.directory / "admin.sock"

    @property
    def sockets(self) -> Path:
        """The directory of the sockets that it connects to."""
        return self.directory.with_name("sockets")

    @property
    def activator(self) -> Path:
        """The activator's socket, where HAProxy is trusted to say who asks."""
        return self.sockets / "activator.sock"

    def relay(self, replica_id: str) -> Path:
        """The socket of a replica's relay."""
        return self.sockets / f"{replica_id}.sock"

    def seen(self, socket: Path) -> str:
        """The address of one of the sockets as HAProxy sees it."""
        return f"unix@{socket}" if self.identity is None else f"unix@/{socket.name}"

    @property
    def pid(self) -> Path:
        """The process."""
        return self.directory / "haproxy.pid"

    def hosts(self, named: bool) -> Path:
        """The map of named hosts, or of any."""
        return self.directory / ("hosts.map" if named else "any.map")


_GLOBAL: Final = """\
global
  noreuseport
  stats socket {admin} mode 600 level admin expose-fd listeners
  hard-stop-after 3600s
  tune.http.maxhdr 128
  tune.bufsize 32768
{drop}defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 60s
  timeout tunnel 3600s
  option idle-close-on-response
  option abortonclose
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response
  http-reuse safe
"""
_FRONTEND: Final = """\
frontend public
  bind {listen} proto h1
  http-error status 400 content-type application/problem+json lf-string {invalid}
  http-error status 405 content-type application/problem+json lf-string {refused}
  http-request set-header x-request-id %[uuid()] unless {{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9._~+/=-]{{1,128}}$ }}
  http-request set-var(txn.id) req.hdr(x-request-id)
  http-after-response set-header x-request-id %[var(txn.id)]
  http-request deny deny_status 405 if {{ method CONNECT }}
  http-request deny deny_status 400 unless {{ req.hdr_cnt(host) eq 1 }}
  http-request deny deny_status 400 unless {{ req.hdr(host) -m reg ^([A-Za-z0-9._~-]{{1,253}}|\\[[0-9A-Fa-f:.]{{2,45}}\\])(:[0-9]{{0,5}})?$ }}
  http-request deny deny_status 400 if {{ path -m reg -i (^|/)([.]|%2e){{1,2}}(/|$) }}
  http-request deny deny_status 400 unless {{ path -m beg / }}
  http-request wait-for-body time {body_s}s if {{ req.hdr_val(content-length) gt 0 }}
  http-request deny deny_status 400 if {{ req.hdr(expect) -m found }} !{{ req.hdr(expect) -i 100-continue }}
  http-request del-header x-forwarded- -m beg
  http-request del-header x-kumoi- -m beg
  http-request del-header proxy- -m beg
  http-request del-header _ -m sub
  http-request del-header forwarded
  http-request del-header x-real-ip
  http-request del-header http2-settings
  http-request del-header keep-alive
  http-request del-header te
  http-request del-header trailer
  http-request del-header connection
  http-request set-header connection upgrade if {{ req.hdr(upgrade) -i websocket }}
  http-request del-header upgrade unless {{ req.hdr(upgrade) -i websocket }}
  http-request del-header tracestate unless {{ req.hdr(traceparent) -m reg ^00-[0-9a-f]{{32}}-[0-9a-f]{{16}}-[0-9a-f]{{2}}$ }}
  http-request set-header traceparent 00-%[uuid(),regsub(-,,g)]-%[uuid(),regsub(-,,g),bytes(0,16)]-00 unless {{ req.hdr(traceparent) -m reg ^00-[0-9a-f]{{32}}-[0-9a-f]{{16}}-[0-9a-f]{{2}}$ }}
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-forwarded-proto http
  http-request set-header x-forwarded-host %[req.hdr(host)]
  http-request set-var(txn.path) path
  http-request set-var(txn.any) str(*),concat(,txn.path,/)
  http-request set-var(txn.service) var(txn.any),map_beg({any})
  http-request set-var(txn.named) req.hdr(host),host_only,lower,concat(,txn.path,/)
  http-request set-var(txn.service) var(txn.named),map_beg({named}) if !{{ var(txn.service) -m found }} !{{ path -m beg {projects} }}
  use_backend %[var(txn.service)] if {{ var(txn.service) -m found }}
  default_backend unknown
backend unknown
  timeout server 3600s
  server activator {activator} pool-purge-delay 4s
backend counts
  stick-table type integer size 100k store gpc({counts})
"""  # noqa: E501 - HAProxy knows no continued lines


def config_text(services: Iterable[ServiceRoute], places: Places) -> str:
    """The whole configuration."""
    frontend = _FRONTEND.format(
        listen=places.listen,
        named=places.hosts(True),
        any=places.hosts(False),
        activator=places.seen(places.activator),
        invalid=_problem(400, "request_invalid", "The request is malformed or ambiguous."),
        refused=_problem(405, "connect_refused", "This is a gateway of services and no proxy to elsewhere."),
        counts=COUNTS,
        projects=PROJECTS,
        body_s=BODY_S,
    )
    backends = [_backend(service, number, places) for number, service in enumerate(services)]
    drop = ""
    if places.identity is not None:
        user, group = places.identity
        drop = f"  chroot {places.sockets}\n  uid {user}\n  gid {group}\n"
    return _GLOBAL.format(admin=places.admin, drop=drop) + frontend + "".join(backends)


def maps_text(services: Iterable[ServiceRoute]) -> list[str]:
    """The maps of named hosts and of any: HOST/PATH/ to a service, the longest that begins so wins."""
    named: dict[str, str] = {}
    anywhere: dict[str, str] = {}
    for service in services:
        path = path_prefix(service.path).decode("ascii")
        for host in service.hosts:
            named.setdefault(f"{host}{path}/", service.id)
        if not service.hosts:
            anywhere.setdefault(f"*{path}/", service.id)
    return ["".join(f"{key} {value}\n" for key, value in found.items()) for found in (named, anywhere)]


def server_line(service: ServiceRoute, replica: ReplicaRoute, address: str) -> str:
    """The words of `add server`: limits, and down at the first connection that fails."""
    return (
        f"{service.id}/{replica.id} {address} maxconn {service.concurrency}"
        f" pool-max-conn {service.concurrency} pool-purge-delay {int(IDLE_S)}s"
        " check inter 1s fastinter 100ms downinter 100ms rise 1 fall 1"
        " observe layer4 error-limit 1 on-error mark-down"
    )


def relay_text(replica: ReplicaRoute, places: Places) -> str:
    """A relay from a Unix socket into a network namespace.

    HAProxy cannot see through it that a replica is gone. So the relay says so to the gateway, for every
    connection that breaks, and holds one that cannot be made for a while before it ends: the gateway has
    taken the replica out before the request is tried again. It stays root: to connect it joins the namespace.
    """
    access = "mode 600" if places.identity is None else f"mode 660 gid {places.identity[1]}"
    endpoint = replica.endpoint
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"""\
global
  nbthread 1
  log {places.directory / RELAY_NEWS} format raw daemon
defaults
  mode tcp
  log global
  log-format {replica.id}
  option dontlog-normal
  timeout connect 1s
  timeout client 3600s
  timeout server 3600s
  retries 1
listen relay
  bind unix@{places.relay(replica.id)} {access}
  server replica {address}:{endpoint.port} namespace {namespace_name(endpoint.netns)}
"""


def namespace_name(netns: str) -> str | None:
    """The name under which HAProxy finds a network namespace; None where it cannot."""
    for folder in NAMESPACES:
        name = netns.removeprefix(folder)
        if name != netns and name and "/" not in name and " " not in name:
            return name
    return None


def _backend(service: ServiceRoute, number: int, places: Places) -> str:
    prefix = path_prefix(service.path).decode("ascii")
    lines = [
        f"backend {service.id}",
        f"  id {FIRST_BACKEND_ID + number}",
        "  balance leastconn",
        f"  timeout queue {service.queue_timeout_ms}ms",
        # Where no slot is free the activator may hold the request for as long as it may queue.
        f"  timeout server {service.queue_timeout_ms + service.request_timeout_ms}ms",
        f"  http-request set-timeout server {service.request_timeout_ms}ms"
        f" if {{ be_conn_free({service.id}) gt 0 }}",
        f"  http-request disable-l7-retry unless {{ method {REPEATABLE} }} {{ req.body_size eq 0 }}",
        "  http-request track-sc0 be_id table counts",
        f"  http-request set-header x-kumoi-service {service.id}",
        f"  http-error status 503 {PROBLEM} hdr retry-after 1 lf-string "
        f"{_problem(503, 'no_answer_in_time', 'No replica was free in time, or none can be reached.')}",
        f"  http-error status 502 {PROBLEM} lf-string "
        f"{_problem(502, 'replica_failed', 'The replica gave no whole answer.')}",
        f"  http-error status 504 {PROBLEM} lf-string "
        f"{_problem(504, 'request_timeout', 'The replica was silent for too long.')}",
    ]
    if service.strip_path and prefix:
        escaped = prefix.replace(".", r"\.")
        lines.append(f"  http-request set-path / if {{ path {prefix} }}")
        lines.append(rf"  http-request replace-path ^{escaped}(/.*) \1")
    if service.queue_length_max:
        full = f"if {{ queue({service.id}) ge {service.queue_length_max} }}"
        lines.append(f"  http-request sc-inc-gpc({COUNT_REFUSED},0) {full}")
        lines.append(
            f"  http-request return status 503 {PROBLEM} hdr retry-after 1 lf-string "
            f"{_problem(503, 'queue_full', 'All replicas are busy and the queue is full.')}"
            f" {full}"
        )
    lines += _counting(service)
    lines.append(
        f"  server {ACTIVATOR} {places.seen(places.activator)} backup pool-purge-delay {int(IDLE_S)}s"
    )
    return "\n".join(lines) + "\n"


def _counting(service: ServiceRoute) -> Iterable[str]:
    """Count what waited, and took, longer than each bound; HAProxy itself keeps averages only.

    What the activator answered is left out: it counts that itself.
    """
    yield "  http-response set-var-fmt(txn.wait) %Tw"
    yield "  http-response set-var-fmt(txn.took) %Tr"
    ours = f"! {{ srv_name {ACTIVATOR} }}"
    late = f"{{ var(txn.wait) -m int gt {service.slo_wait_ms} }} {ours}"
    yield f"  http-response sc-inc-gpc({COUNT_VIOLATED},0) if {late}"
    for index, bound_s in enumerate(BOUNDS_S):
        limit = f"-m int gt {int(bound_s * MS)} }} {ours}"
        yield f"  http-response sc-inc-gpc({COUNT_WAITS + index},0) if {{ var(txn.wait) {limit}"
        yield f"  http-response sc-inc-gpc({COUNT_TIMES + index},0) if {{ var(txn.took) {limit}"


def _problem(status: int, code: str, detail: str) -> str:
    """A problem of RFC 9457 as a quoted log format, with the request's id."""
    text = (
        f'{{"type": "urn:kumoi:error:{code}", "status": {status}, "detail": "{detail}",'
        ' "instance": "urn:kumoi:request:%[var(txn.id)]"}'
    )
    return '"' + text.replace('"', '\\"') + '"'

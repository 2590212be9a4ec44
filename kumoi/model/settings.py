"""The settings of a plane. Flags override `KUMOI_*`, which overrides `DATA/kumoi.toml`."""

from dataclasses import dataclass, fields
from pathlib import Path

LISTEN_DEFAULT = "127.0.0.1:8080"
GATEWAY_LISTEN_DEFAULT = "127.0.0.1:8580"
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """What `kumoi up` runs with: `KUMOI_*` variables, keys of `kumoi.toml` and, most of them, flags."""

    data_dir: Path
    listen: str = LISTEN_DEFAULT
    database: str = ""
    region: str = "region-1"
    cell: int = 0
    log_origin: str = ""
    log_interval_s: float = 5.0
    log_gap_s: float = 120.0
    witnesses_file: str = ""
    tokens_file: str = ""
    notice_networks: str = ""
    notice_ca_file: str = ""
    smtp_url: str = ""
    smtp_from: str = ""
    smtp_login_file: str = ""
    smtp_starttls: bool = True
    host_name: str = ""
    host_pool: str = ""
    providers_file: str = ""
    host_cpu_milli: int = 0
    host_memory_bytes: int = 0
    podman: bool = False
    podman_cpu_milli: int = 0
    podman_memory_bytes: int = 0
    podman_registries: str = ""
    task_log_retention_s: int = 30 * 86_400
    job_retention_s: int = 400 * 86_400
    plan_retention_s: int = 30 * 86_400
    access_answer_s: int = 7 * 86_400
    access_explain_s: int = 86_400
    access_second_age_s: int = 86_400
    volume_encryption: bool = True
    gateway: bool = True
    gateway_listen: str = GATEWAY_LISTEN_DEFAULT

    def __post_init__(self) -> None:
        if not 0 <= self.cell <= 65_535:
            raise ValueError(f"cell must be 0..65535, not {self.cell}")
        if not 0.05 <= self.log_interval_s <= 60:
            raise ValueError(f"log_interval_s must be 0.05..60, not {self.log_interval_s}")
        if not self.log_interval_s < self.log_gap_s <= 86_400:
            raise ValueError(f"log_gap_s must be above log_interval_s, 86400 at most, not {self.log_gap_s}")
        for name in ("task_log_retention_s", "job_retention_s", "plan_retention_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("access_answer_s", "access_explain_s"):
            if not 1 <= getattr(self, name) <= 30 * 86_400:
                raise ValueError(f"{name} must be 1 s to 30 days, not {getattr(self, name)}")
        if not 0 <= self.access_second_age_s <= 30 * 86_400:
            raise ValueError(f"access_second_age_s must be 0 to 30 days, not {self.access_second_age_s}")
        address_split(self.listen)
        address_split(self.gateway_listen, "gateway_listen", port_min=0)

    @property
    def database_url(self) -> str:
        """The database: SQLite in the data directory unless another is named."""
        return self.database or f"sqlite:///{self.data_dir / 'kumoi.db'}"

    @property
    def keys_dir(self) -> Path:
        """Where the keys of this region are."""
        return self.data_dir / "keys"

    @property
    def origin(self) -> str:
        """The name of the operations log (C2SP tlog-checkpoint origin)."""
        return self.log_origin or f"kumoi.local/{self.region}"


def address_split(listen: str, name: str = "listen", *, port_min: int = 1) -> tuple[str, int]:
    """Host and port of `HOST:PORT` (`[::1]:8080` for IPv6). ValueError where it is none."""
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not port.isdecimal() or not port_min <= int(port) <= 65_535:
        raise ValueError(f"{name} must be HOST:PORT such as {LISTEN_DEFAULT}, not {listen!r}")
    return host.strip("[]"), int(port)


def settings_build(data_dir: Path, *layers: dict[str, object]) -> Settings:
    """Settings from layers, the first that has a name wins. ValueError for unknown ones."""
    known = {field.name: field for field in fields(Settings)}
    chosen: dict[str, object] = {}
    for layer in reversed(layers):
        unknown = layer.keys() - known.keys()
        if unknown:
            raise ValueError(
                f"there is no setting {sorted(unknown)[0]}; known are {', '.join(sorted(known))}"
            )
        chosen |= layer
    values = {
        name: _convert(name, known[name].default, value)
        for name, value in chosen.items()
        if name != "data_dir"
    }
    return Settings(data_dir=data_dir, **values)  # type: ignore[arg-type]


def _convert(name: str, default: object, value: object) -> object:
    """The value in the type of the default; text is converted, as variables have no types."""
    wanted = type(default)
    if wanted is bool and str(value).lower() in _TRUTHS:
        return _TRUTHS[str(value).lower()]
    if isinstance(value, bool) or wanted is bool or not isinstance(value, (str, int, float)):
        raise ValueError(f"{name} must be of type {wanted.__name__}, not {value!r}")
    try:
        return wanted(value)  # type: ignore[call-arg]
    except ValueError:
        raise ValueError(f"{name} must be of type {wanted.__name__}, not {value!r}") from None

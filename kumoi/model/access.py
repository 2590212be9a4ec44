"""Who may do what: principals, roles, tokens and the actions of the routes."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.ids import END, Id, Name

PLATFORM = "platform"
TOKEN_EXPIRES_S_DEFAULT = 90 * 86_400
TOKEN_EXPIRES_S_MAX = 366 * 86_400


class PrincipalKind(StrEnum):
    """People and programs."""

    USER = "user"
    SERVICE_ACCOUNT = "service_account"


class Role(StrEnum):
    """What a binding grants within its scope."""

    PLATFORM_OPERATOR = "platform_operator"
    ORGANIZATION_ADMIN = "organization_admin"
    MEMBER = "member"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    SERVICE_ACCOUNT = "service_account"


class ScopeKind(StrEnum):
    """What a role binding covers."""

    PLATFORM = "platform"
    ORGANIZATION = "organization"
    PROJECT = "project"


class TokenScope(StrEnum):
    """What a token may be used for at most; its owner's roles still decide."""

    ALL = "all"
    READ = "read"
    JOBS = "jobs"
    SERVICES = "services"
    FILES = "files"


class ResourceKind(StrEnum):
    """The kinds of resource that a decision can be about."""

    PLATFORM = "Platform"
    ORGANIZATION = "Organization"
    PROJECT = "Project"
    PRINCIPAL = "Principal"
    TOKEN = "Token"  # noqa: S105 - a kind, not a credential
    JOB = "Job"
    SERVICE = "Service"
    SECRET = "Secret"  # noqa: S105 - a kind, not a credential
    FILE = "File"
    EVENT = "Event"


class Action(StrEnum):
    """Every action that a route can name. Actions that end in `_list` or `_read` change nothing."""

    SELF_READ = "self_read"
    ORGANIZATION_LIST = "organization_list"
    ORGANIZATION_CREATE = "organization_create"
    ORGANIZATION_READ = "organization_read"
    ORGANIZATION_SUSPEND = "organization_suspend"
    ORGANIZATION_RESUME = "organization_resume"
    KEY_READ = "key_read"
    KEY_ATTACH = "key_attach"
    KEY_WITHDRAW = "key_withdraw"
    KEY_RESTORE = "key_restore"
    KEY_ROTATE = "key_rotate"
    PLATFORM_KEY_READ = "platform_key_read"
    PLATFORM_KEY_ROTATE = "platform_key_rotate"
    PRINCIPAL_LIST = "principal_list"
    PRINCIPAL_CREATE = "principal_create"
    PRINCIPAL_DISABLE = "principal_disable"
    PRINCIPAL_ENABLE = "principal_enable"
    ROLE_BINDING_LIST = "role_binding_list"
    ROLE_BINDING_CREATE = "role_binding_create"
    ROLE_BINDING_DELETE = "role_binding_delete"
    PROJECT_LIST = "project_list"
    PROJECT_CREATE = "project_create"
    PROJECT_READ = "project_read"
    PROJECT_ARCHIVE = "project_archive"
    PROJECT_RESTORE = "project_restore"
    TOKEN_LIST = "token_list"  # noqa: S105 - an action, not a credential
    TOKEN_CREATE = "token_create"  # noqa: S105 - an action, not a credential
    TOKEN_REVOKE = "token_revoke"  # noqa: S105 - an action, not a credential
    SITE_LIST = "site_list"
    SITE_CREATE = "site_create"
    POOL_LIST = "pool_list"
    POOL_CREATE = "pool_create"
    POOL_PAUSE = "pool_pause"
    POOL_RESUME = "pool_resume"
    POOL_AUTOSCALE_READ = "pool_autoscale_read"
    POOL_AUTOSCALE_WRITE = "pool_autoscale_write"
    POOL_AUTOSCALE_DELETE = "pool_autoscale_delete"
    MACHINE_LIST = "machine_list"
    MACHINE_READ = "machine_read"
    HOST_LIST = "host_list"
    HOST_READ = "host_read"
    HOST_DRAIN = "host_drain"
    HOST_RESUME = "host_resume"
    HOST_DEDICATE = "host_dedicate"
    HOST_DECLARE_LOST = "host_declare_lost"
    CAPACITY_READ = "capacity_read"
    CAPACITY_PLAN_LIST = "capacity_plan_list"
    CAPACITY_PLAN_CREATE = "capacity_plan_create"
    CAPACITY_PLAN_DELETE = "capacity_plan_delete"
    DEVICE_MODEL_LIST = "device_model_list"
    DEVICE_MODEL_WRITE = "device_model_write"
    PLAN_LIST = "plan_list"
    PLAN_READ = "plan_read"
    QUOTA_LIST = "quota_list"
    QUOTA_WRITE = "quota_write"
    QUOTA_DELETE = "quota_delete"
    FAIR_SHARE_READ = "fair_share_read"
    FAIR_SHARE_WRITE = "fair_share_write"
    RATE_LIST = "rate_list"
    RATE_WRITE = "rate_write"
    BUDGET_READ = "budget_read"
    BUDGET_WRITE = "budget_write"
    BUDGET_DELETE = "budget_delete"
    RESERVATION_LIST = "reservation_list"
    RESERVATION_READ = "reservation_read"
    RESERVATION_CREATE = "reservation_create"
    RESERVATION_CANCEL = "reservation_cancel"
    JOB_LIST = "job_list"
    JOB_CREATE = "job_create"
    JOB_READ = "job_read"
    JOB_CANCEL = "job_cancel"
    JOB_LOG_READ = "job_log_read"
    SERVICE_LIST = "service_list"
    SERVICE_CREATE = "service_create"
    SERVICE_READ = "service_read"
    SERVICE_UPDATE = "service_update"
    SERVICE_DELETE = "service_delete"
    SECRET_LIST = "secret_list"  # noqa: S105 - an action, not a credential
    SECRET_WRITE = "secret_write"  # noqa: S105 - an action, not a credential
    SECRET_DELETE = "secret_delete"  # noqa: S105 - an action, not a credential
    FILE_LIST = "file_list"
    FILE_READ = "file_read"
    FILE_WRITE = "file_write"
    FILE_DELETE = "file_delete"
    PROJECT_USAGE_READ = "project_usage_read"
    ORGANIZATION_USAGE_READ = "organization_usage_read"
    PLATFORM_USAGE_READ = "platform_usage_read"
    NOTICE_LIST = "notice_list"
    NOTICE_TARGET_LIST = "notice_target_list"
    NOTICE_TARGET_CREATE = "notice_target_create"
    NOTICE_TARGET_DELETE = "notice_target_delete"
    NOTICE_TARGET_TEST = "notice_target_test"
    ORGANIZATION_EVENT_LIST = "organization_event_list"
    PLATFORM_EVENT_LIST = "platform_event_list"
    EVENT_READ = "event_read"
    ACCESS_REQUEST_LIST = "access_request_list"
    ACCESS_REQUEST_READ = "access_request_read"
    ACCESS_REQUEST_CREATE = "access_request_create"
    ACCESS_REQUEST_CONFIRM = "access_request_confirm"
    ACCESS_REQUEST_EXPLAIN = "access_request_explain"
    ACCESS_REQUEST_END = "access_request_end"
    ACCESS_REQUEST_APPROVE = "access_request_approve"
    ACCESS_REQUEST_DENY = "access_request_deny"
    ACCESS_REQUEST_REVOKE = "access_request_revoke"
    ACCESS_USE_LIST = "access_use_list"
    ACCESS_KEY_LIST = "access_key_list"
    ACCESS_KEY_CREATE = "access_key_create"
    ACCESS_KEY_RETIRE = "access_key_retire"
    ACCESS_RULE_LIST = "access_rule_list"
    ACCESS_RULE_CREATE = "access_rule_create"
    ACCESS_RULE_REVOKE = "access_rule_revoke"


class AccessSet(StrEnum):
    """What a tenant may let an operator do: sets of actions, each a group of the guard's schema.

    Secrets' values are in none of them: nobody reads those back.
    """

    INSPECT = "inspect"
    LOGS = "logs"
    FILES = "files"
    EVENTS = "events"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """What a live access request lets its operator do: `sets` on `resource` and everything below it."""

    request_id: str
    organization_id: str
    resource_kind: "ResourceKind"
    resource_id: str
    sets: frozenset[AccessSet]


@dataclass(slots=True, eq=False)
class AccessSession:
    """Which grants one request of an operator made use of, with what for, in the order of use."""

    used: dict[tuple[AccessGrant, "Action", "Target"], None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role within a scope; `scope_id` is `platform` for the platform itself."""

    role: Role
    scope_kind: ScopeKind
    scope_id: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request, as its token says. `token_project_id` narrows the token to one project.

    `session` notes what an operator's request uses of the access that tenants gave; without one nothing of
    it can be used, so that nothing goes unrecorded.
    """

    id: str
    kind: PrincipalKind
    organization_id: str
    grants: tuple[Grant, ...]
    token_id: str
    token_scopes: frozenset[TokenScope] = frozenset({TokenScope.ALL})
    token_project_id: str | None = None
    session: AccessSession | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request acts on. The platform and its sites, pools and hosts have no organization.

    `owner_id` is the principal that a token or principal belongs to, where it has one.
    """

    kind: ResourceKind
    id: str
    organization_id: str | None = None
    project_id: str | None = None
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of the guard; `policies` names the policies (their @id) that decided."""

    allowed: bool
    policies: tuple[str, ...]
    reason: str


PLATFORM_TARGET = Target(ResourceKind.PLATFORM, PLATFORM)


class OrganizationCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new organization and its first administrator, whose token is answered once."""

    name: Name
    admin_name: Name = "admin"
    display_name: Annotated[str, Meta(max_length=200)] = ""


class Organization(Struct, frozen=True):
    """A tenant (or, for its operators, the platform itself)."""

    id: Id
    name: Name
    display_name: str
    state: str
    created_at: str
    version: int


class OrganizationCreated(Struct, frozen=True):
    """`admin_token` is null when the answer is a replay: tokens are shown once."""

    organization: Organization
    admin: "Principal"
    admin_token: str | None


class PrincipalCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new user or service account of an organization."""

    name: Name
    kind: PrincipalKind = PrincipalKind.USER


class Principal(Struct, frozen=True):
    """A user or a service account."""

    id: Id
    kind: PrincipalKind
    organization: Id
    name: Name
    state: str
    created_at: str
    version: int


class RoleBindingCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """Grant `role` to a principal of the organization; over the organization, or one project of it."""

    principal: Id
    role: Role
    project: Id | None = None


class RoleBinding(Struct, frozen=True):
    """A role that a principal holds within a scope."""

    id: Id
    organization: Id
    principal: Id
    role: Role
    scope_kind: ScopeKind
    scope: str
    created_at: str


class ProjectCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new project. `data_class` and `jurisdiction` bind everything that it holds."""

    name: Name
    data_class: Name = "general"
    jurisdiction: Annotated[str, Meta(pattern=rf"^[A-Z]{{2}}{END}")] = "JP"


class Project(Struct, frozen=True):
    """Where jobs, files and secrets live."""

    id: Id
    organization: Id
    name: Name
    state: str
    data_class: str
    jurisdiction: str
    created_at: str
    version: int


class TokenCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new API token for the caller, or for `principal` where the caller administers it."""

    name: Name = "token"
    principal: Id | None = None
    scopes: Annotated[tuple[TokenScope, ...], Meta(min_length=1, max_length=5)] = (TokenScope.ALL,)
    project: Id | None = None
    expires_s: Annotated[int, Meta(ge=60, le=TOKEN_EXPIRES_S_MAX)] = TOKEN_EXPIRES_S_DEFAULT


class Token(Struct, frozen=True):
    """An API token without its secret."""

    id: Id
    principal: Id
    name: Name
    scopes: tuple[TokenScope, ...]
    project: Id | None
    state: str
    created_at: str
    expires_at: str


class TokenCreated(Struct, frozen=True):
    """`secret` is null when the answer is a replay: tokens are shown once."""

    token: Token
    secret: str | None


class Whoami(Struct, frozen=True):
    """The caller, as the plane sees it."""

    id: Id
    kind: PrincipalKind
    name: Name
    organization: Id
    organization_name: Name
    roles: tuple[RoleBinding, ...]
    token: Token

"""Organizations, principals, role bindings, projects and tokens."""

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, delete, get, pages, path, post, tell
from kumoi.model.access import (
    Organization,
    OrganizationCreate,
    OrganizationCreated,
    Principal,
    PrincipalCreate,
    PrincipalKind,
    Project,
    ProjectCreate,
    Role,
    RoleBinding,
    RoleBindingCreate,
    Token,
    TokenCreate,
    TokenCreated,
    Whoami,
)


def whoami() -> Flow[Whoami]:
    """The caller, as the plane sees it."""
    return ask(Whoami, get(path("whoami")))


def organization_list(*, limit: int | None = None) -> Stream[Organization]:
    """The organizations that the caller may see."""
    return pages(Organization, path("organizations"), limit)


def organization_create(
    name: str, *, admin_name: str = "admin", display_name: str = "", key: str | None = None
) -> Flow[OrganizationCreated]:
    """Create an organization and its first administrator, whose token is in the answer, once."""
    body = OrganizationCreate(name, admin_name, display_name)
    return ask(OrganizationCreated, post(path("organizations"), body, key))


def organization_read(organization: str) -> Flow[Organization]:
    """One organization, by id or name."""
    return ask(Organization, get(path("organizations", organization)))


def organization_suspend(organization: str, *, key: str | None = None) -> Flow[Organization]:
    """Shut an organization out until it is resumed."""
    return ask(Organization, post(path("organizations", organization, "suspend"), None, key))


def organization_resume(organization: str, *, key: str | None = None) -> Flow[Organization]:
    """Let a suspended organization in again."""
    return ask(Organization, post(path("organizations", organization, "resume"), None, key))


def principal_list(organization: str, *, limit: int | None = None) -> Stream[Principal]:
    """Users and service accounts of an organization."""
    return pages(Principal, path("organizations", organization, "principals"), limit)


def principal_create(
    organization: str, name: str, kind: PrincipalKind = PrincipalKind.USER, *, key: str | None = None
) -> Flow[Principal]:
    """Create a user or a service account."""
    at = path("organizations", organization, "principals")
    return ask(Principal, post(at, PrincipalCreate(name, kind), key))


def principal_disable(principal: str, *, key: str | None = None) -> Flow[Principal]:
    """End what a principal may do; its tokens stop working."""
    return ask(Principal, post(path("principals", principal, "disable"), None, key))


def principal_enable(principal: str, *, key: str | None = None) -> Flow[Principal]:
    """Let a disabled principal act again."""
    return ask(Principal, post(path("principals", principal, "enable"), None, key))


def role_binding_list(organization: str, *, limit: int | None = None) -> Stream[RoleBinding]:
    """Who holds which role in an organization and its projects."""
    return pages(RoleBinding, path("organizations", organization, "role-bindings"), limit)


def role_binding_create(
    organization: str, principal: str, role: Role, project: str | None = None, *, key: str | None = None
) -> Flow[RoleBinding]:
    """Grant a role over the organization, or over one project of it."""
    at = path("organizations", organization, "role-bindings")
    return ask(RoleBinding, post(at, RoleBindingCreate(principal, role, project), key))


def role_binding_delete(role_binding: str) -> Flow[None]:
    """Take a role away."""
    return tell(delete(path("role-bindings", role_binding)))


def project_list(organization: str, *, limit: int | None = None) -> Stream[Project]:
    """Projects of an organization, oldest first."""
    return pages(Project, path("organizations", organization, "projects"), limit)


def project_create(
    organization: str,
    name: str,
    *,
    data_class: str = "general",
    jurisdiction: str = "JP",
    key: str | None = None,
) -> Flow[Project]:
    """Create a project."""
    body = ProjectCreate(name, data_class, jurisdiction)
    return ask(Project, post(path("organizations", organization, "projects"), body, key))


def project_read(project: str) -> Flow[Project]:
    """One project, by id."""
    return ask(Project, get(path("projects", project)))


def project_archive(project: str, *, key: str | None = None) -> Flow[Project]:
    """Close a project for new work; what it holds stays."""
    return ask(Project, post(path("projects", project, "archive"), None, key))


def project_restore(project: str, *, key: str | None = None) -> Flow[Project]:
    """Open an archived project again."""
    return ask(Project, post(path("projects", project, "restore"), None, key))


def token_list(principal: str | None = None, *, limit: int | None = None) -> Stream[Token]:
    """Tokens of the caller, or of another principal."""
    return pages(Token, path("tokens"), limit, principal=principal)


def token_create(body: TokenCreate, *, key: str | None = None) -> Flow[TokenCreated]:
    """Create a token. Its secret is in the answer, once."""
    return ask(TokenCreated, post(path("tokens"), body, key))


def token_revoke(token: str, *, key: str | None = None) -> Flow[Token]:
    """End a token."""
    return ask(Token, post(path("tokens", token, "revoke"), None, key))


class Organizations(Group[D]):
    """`client.organizations`"""

    list = Streaming(organization_list)
    create = Operation(organization_create)
    get = Operation(organization_read)
    suspend = Operation(organization_suspend)
    resume = Operation(organization_resume)


class Principals(Group[D]):
    """`client.principals`"""

    list = Streaming(principal_list)
    create = Operation(principal_create)
    disable = Operation(principal_disable)
    enable = Operation(principal_enable)


class RoleBindings(Group[D]):
    """`client.role_bindings`"""

    list = Streaming(role_binding_list)
    create = Operation(role_binding_create)
    delete = Operation(role_binding_delete)


class Projects(Group[D]):
    """`client.projects`"""

    list = Streaming(project_list)
    create = Operation(project_create)
    get = Operation(project_read)
    archive = Operation(project_archive)
    restore = Operation(project_restore)


class Tokens(Group[D]):
    """`client.tokens`"""

    list = Streaming(token_list)
    create = Operation(token_create)
    revoke = Operation(token_revoke)

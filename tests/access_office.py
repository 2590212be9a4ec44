"""Those whom operator access is between, in a region of the web tests."""

from typing import Any

from approver import Approver

REASON = "tasks of the nightly run end with code 137"


class Office:
    """An operator, a colleague, and a tenant with its key."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.tenant = world.acme
        self.operator = world.operator
        self.colleague = operator_new(world)
        self.approver = Approver(world.plane.region.log_origin, self.tenant.id)
        body = {"name": "first", "public_key": self.approver.public}
        self.approver.id = self.call(self.tenant.admin, "access-keys", body, status=201)["id"]

    def call(
        self, token: str, path: str, body: Any = None, *, status: int = 200, method: str = "POST"
    ) -> Any:
        answer = self.world.api(token, method, f"/v1/organizations/{self.tenant.id}/{path}", body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def ask(self, resource: str, *sets: str, status: int = 201, by: str = "", **more: Any) -> Any:
        body = {"resource": resource, "sets": sets or ("logs",), "reason": REASON} | more
        return self.call(by or self.operator, "access-requests", body, status=status)

    def step(self, request: Any, verb: str, body: Any = None, *, by: str = "", status: int = 200) -> Any:
        at = f"access-requests/{request['id']}/{verb}"
        return self.call(by or self.tenant.admin, at, body, status=status)

    def approved(self, resource: str, *sets: str, **more: Any) -> Any:
        asked = self.ask(resource, *sets, **more)
        return self.step(asked, "approve", self.approver.approval(asked))

    def log_status(self, job: str, token: str = "") -> int:
        path = f"/v1/jobs/{job}/tasks/0/log"
        return int(self.world.api(token or self.operator, "GET", path).status_code)

    def uses(self, request: Any) -> list[dict[str, Any]]:
        at = f"access-requests/{request['id']}/uses"
        return list(self.call(self.tenant.admin, at, method="GET")["items"])

    def events(self, action: str) -> list[dict[str, Any]]:
        found = self.call(self.tenant.admin, "events?limit=1000", method="GET")["items"]
        return [event for event in found if event["action"] == action]


def operator_new(world: Any) -> str:
    """The token of one more operator."""
    api, base = world.api, "/v1/organizations/platform"
    made = api(world.operator, "POST", f"{base}/principals", {"name": world.name("operator")}).json()["id"]
    binding = {"principal": made, "role": "platform_operator"}
    assert api(world.operator, "POST", f"{base}/role-bindings", binding).status_code == 201
    return str(api(world.operator, "POST", "/v1/tokens", {"principal": made}).json()["secret"])

"""Notices: an organization says where it is told, and nobody else sees it."""

from typing import Any

import pytest

from kumoi.app import notices
from kumoi.core.notice_addresses import NoticeRules, networks_parse
from kumoi.model.notices import CHOICES, TARGETS_MAX

HOOK = "https://hooks.acme.invalid/kumoi?token=t0p"


def targets(world: Any, organization: str) -> str:
    return f"/v1/organizations/{organization}/notice-targets"


def add(world: Any, token: str, organization: str, **body: Any) -> Any:
    given = {"channel": "webhook", "address": f"https://{world.name('hook')}.invalid/"} | body
    return world.api(token, "POST", targets(world, organization), given)


@pytest.fixture
def tenant(world: Any) -> tuple[str, str]:
    """A new organization and its administrator's token."""
    made = world.api(world.operator, "POST", "/v1/organizations", {"name": world.name("noticed")}).json()
    return made["organization"]["id"], made["admin_token"]


def events(world: Any, token: str, organization: str) -> list[Any]:
    found = world.api(token, "GET", f"/v1/organizations/{organization}/events").json()["items"]
    return [event for event in found if "notice" in event["action"]]


def test_a_webhook_is_added_tried_and_removed(world: Any, tenant: tuple[str, str]) -> None:
    organization, token = tenant
    made = add(world, token, organization, address=HOOK)
    assert made.status_code == 201, made.text
    target, secret = made.json()["target"], made.json()["secret"]
    assert secret.startswith("whsec_")
    assert target["kinds"] == sorted(CHOICES)
    listed = world.api(token, "GET", targets(world, organization))
    assert listed.json()["items"] == [target]
    assert secret not in listed.text
    tried = world.api(token, "POST", f"/v1/notice-targets/{target['id']}/test")
    assert (tried.status_code, tried.json()["kind"]) == (202, "trial")
    early = world.api(token, "POST", f"/v1/notice-targets/{target['id']}/test")
    assert (early.status_code, early.json()["type"]) == (429, "urn:kumoi:error:notice_trial_early")
    path = f"/v1/organizations/{organization}/notices"

    def given_up() -> Any:
        (one,) = world.api(token, "GET", path).json()["items"]
        return one if one["state"] == "given_up" else None

    sending = world.wait(given_up)
    assert (sending["id"], sending["attempts"]) == (tried.json()["id"], 1)
    assert sending["failure"] == "its name has no address"
    assert world.api(token, "DELETE", f"/v1/notice-targets/{target['id']}").status_code == 204
    assert world.api(token, "GET", path).json()["items"] == []
    told = events(world, token, organization)
    assert [event["action"] for event in told][::-1] == [
        "notice_target_create",
        "notice_target_test",
        "notice_give_up",
        "notice_target_delete",
    ]
    assert told[-1]["detail"]["host"] == "hooks.acme.invalid"
    assert "t0p" not in str(told)
    assert secret not in str(told)


def test_a_secret_is_shown_once(world: Any, tenant: tuple[str, str]) -> None:
    organization, token = tenant
    body = {"channel": "webhook", "address": HOOK}
    headers = {"Idempotency-Key": "once"}
    first, second = (
        world.api(token, "POST", targets(world, organization), body, headers=headers) for _ in range(2)
    )
    assert first.json()["target"] == second.json()["target"]
    assert first.json()["secret"].startswith("whsec_")
    assert second.json()["secret"] is None
    again = world.api(token, "POST", targets(world, organization), body)
    assert again.status_code == 409


def test_an_organization_has_so_many_targets(world: Any, tenant: tuple[str, str]) -> None:
    organization, token = tenant
    for _ in range(TARGETS_MAX):
        assert add(world, token, organization).status_code == 201
    full = add(world, token, organization)
    assert (full.status_code, full.json()["type"]) == (409, "urn:kumoi:error:notice_targets_full")


@pytest.mark.parametrize(
    ("body", "code", "at"),
    [
        ({"address": "http://hooks.acme.invalid/"}, "notice_url_plain", "/address"),
        ({"address": "https://user@hooks.acme.invalid/"}, "notice_url_invalid", "/address"),
        ({"address": "ftp://hooks.acme.invalid/"}, "notice_url_invalid", "/address"),
        ({"address": "https://127.0.0.1/"}, "notice_url_refused", "/address"),
        ({"address": "https://169.254.169.254/latest/meta-data"}, "notice_url_refused", "/address"),
        ({"address": "https://[::ffff:10.0.0.1]/"}, "notice_url_refused", "/address"),
        ({"address": "https://" + "x" * 500}, "length_out_of_range", "/address"),
        ({"channel": "mail", "address": "ops@acme.example"}, "mail_not_set_up", "/channel"),
        ({"channel": "pigeon"}, "value_unknown", "/channel"),
        ({"kinds": ["trial"]}, "notice_kind_invalid", "/kinds"),
        ({"kinds": ["gossip"]}, None, "/kinds/0"),
        ({"colour": "red"}, "field_unknown", None),
    ],
)
def test_what_cannot_be_a_target_is_refused(
    world: Any, body: dict[str, Any], code: str | None, at: str | None
) -> None:
    answer = add(world, world.acme.admin, world.acme.id, **body)
    assert answer.status_code == 422, answer.text
    if code is not None:
        assert answer.json()["type"] == f"urn:kumoi:error:{code}"
    if at is not None:
        assert answer.json()["at"] == at


@pytest.mark.parametrize("address", ["a@b\r\nBcc: c@d", "a@b,c@d", "Ops <a@b>", "a@b\n"])
def test_an_address_that_would_be_more_than_one_is_refused(
    world: Any, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(world.plane, "notice_rules", NoticeRules(has_mail=True))
    answer = add(world, world.acme.admin, world.acme.id, channel="mail", address=address)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:kumoi:error:mail_address_invalid")


def test_the_operator_opens_networks_and_mail(
    world: Any, monkeypatch: pytest.MonkeyPatch, tenant: tuple[str, str]
) -> None:
    organization, token = tenant
    rules = NoticeRules(networks_parse("127.0.0.0/8,10.1.0.0/16"), has_mail=True)
    monkeypatch.setattr(world.plane, "notice_rules", rules)
    for address in ("http://127.0.0.1:8000/", "https://10.1.2.3/"):
        assert add(world, token, organization, address=address).status_code == 201
    for address in ("http://10.1.2.3/", "https://10.2.0.1/"):
        assert add(world, token, organization, address=address).status_code == 422
    made = add(world, token, organization, channel="mail", address="ops@acme.example", kinds=["break_glass"])
    assert (made.json()["secret"], made.json()["target"]["kinds"]) == (None, ["break_glass"])


def test_others_neither_see_nor_touch_it(world: Any, tenant: tuple[str, str]) -> None:
    organization, token = tenant
    target = add(world, token, organization).json()["target"]["id"]
    requests = [
        ("GET", targets(world, organization), None),
        ("POST", targets(world, organization), {"channel": "webhook", "address": HOOK}),
        ("GET", f"/v1/organizations/{organization}/notices", None),
        ("DELETE", f"/v1/notice-targets/{target}", None),
        ("POST", f"/v1/notice-targets/{target}/test", None),
    ]
    for stranger in (world.rival.admin, world.acme.admin):
        for method, path, body in requests:
            assert world.api(stranger, method, path, body).status_code == 404, path
    for method, path, body in requests:
        assert world.api(world.operator, method, path, body).status_code in (403, 404), path
    assert len(world.api(token, "GET", targets(world, organization)).json()["items"]) == 1


def test_operators_have_targets_of_their_own(world: Any) -> None:
    platform = world.plane.region.platform_organization_id
    made = add(world, world.operator, platform)
    assert made.status_code == 201, made.text
    gone = world.api(world.operator, "DELETE", f"/v1/notice-targets/{made.json()['target']['id']}")
    assert gone.status_code == 204


def test_a_trial_is_possible_again_after_a_while(
    world: Any, monkeypatch: pytest.MonkeyPatch, tenant: tuple[str, str]
) -> None:
    organization, token = tenant
    path = f"/v1/notice-targets/{add(world, token, organization).json()['target']['id']}/test"
    monkeypatch.setattr(notices, "TRIAL_EVERY_S", 0)
    assert [world.api(token, "POST", path).status_code for _ in range(2)] == [202, 202]


def test_removing_and_adding_again_gives_no_further_trial(world: Any, tenant: tuple[str, str]) -> None:
    organization, token = tenant
    for expected in (202, 429):
        target = add(world, token, organization).json()["target"]["id"]
        assert world.api(token, "POST", f"/v1/notice-targets/{target}/test").status_code == expected
        assert world.api(token, "DELETE", f"/v1/notice-targets/{target}").status_code == 204


def test_mail_addresses_are_added_slowly_whatever_was_removed(
    world: Any, monkeypatch: pytest.MonkeyPatch, tenant: tuple[str, str]
) -> None:
    organization, token = tenant
    monkeypatch.setattr(world.plane, "notice_rules", NoticeRules(has_mail=True))
    for number in range(notices.MAILS_MAX):
        made = add(world, token, organization, channel="mail", address=f"n{number}@acme.example")
        assert made.status_code == 201, made.text
        path = f"/v1/notice-targets/{made.json()['target']['id']}"
        assert world.api(token, "DELETE", path).status_code == 204
    early = add(world, token, organization, channel="mail", address="one@acme.example")
    assert (early.status_code, early.json()["type"]) == (429, "urn:kumoi:error:notice_mails_early")
    assert add(world, token, organization).status_code == 201, "webhooks are not mail"
    monkeypatch.setattr(notices, "MAILS_WITHIN_S", 0)
    late = add(world, token, organization, channel="mail", address="one@acme.example")
    assert late.status_code == 201

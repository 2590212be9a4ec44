"""Codes and figures become sentences in the reader's language."""

import pytest

from kumoi.model.jobs import HostRefusal, JobWhy
from kumoi.model.services import Condition, ScaleStep, ServiceWhy
from kumoi.web.api.sentences import job_why_said, why_said
from kumoi.web.text import Reader, Texts

AT = "2027-01-15T08:00:00Z"
PAUSED = Condition("rollout_paused", AT, {"revision": "4"})


def said(
    language: str, *steps: ScaleStep, state: str = "active", conditions: tuple[Condition, ...] = ()
) -> str:
    why = ServiceWhy("svc_1", state, conditions, steps)
    return why_said(Reader(Texts(), language), why).explanation


def test_advice_follows_what_is_so() -> None:
    params = {"revision": "2", "failures": "1", "why": "exit code 1", "service": "web", "replica": "rep_1"}
    told = said("en", conditions=(Condition("revision_failing", AT, params),))
    assert told == (
        "nothing was decided yet; replicas of revision 2 cannot stand (failures in a row: 1), lastly: exit "
        "code 1; `kumoi service logs web --replica rep_1` shows what it wrote; then update the service"
    )
    params = {"revision": "2", "why": "no such image", "never_ran": "true"}
    told = said("ja", conditions=(Condition("revision_failed", AT, params),))
    assert "リビジョン2への切り替えは中止された。理由: no such image。プログラムは何も出力していない" in told
    assert "kumoi service logs" not in told


def test_a_replica_for_no_requests_is_explained() -> None:
    told = "replicas: 3, ready for the first requests; none are expected now"
    assert said("en", step("forecast", forecast=0.0, ahead_s=2.0)) == told


def step(code: str, **figures: float) -> ScaleStep:
    return ScaleStep(AT, 1.0, 3, 0, 0, code, figures, "sca_1")


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "replicas: 3, for a demand of 7.12 at once expected in 2 s, with a margin"),
        ("ja", "レプリカ3個。2秒後に同時7.12件のリクエストを見込み、余裕を加えた数"),
    ],
)
def test_figures_are_rounded(language: str, sentence: str) -> None:
    assert said(language, step("steady"), step("forecast", forecast=7.123456, ahead_s=2.0)) == sentence


@pytest.mark.parametrize("broken", [step("of_tomorrow", x=1), step("forecast", x=1)])
def test_a_reason_of_another_version_is_told_by_its_code(broken: ScaleStep) -> None:
    assert said("ja", broken) == broken.code


def test_what_stands_in_the_way_follows_the_reason() -> None:
    paused = "the rollout of revision 4 is paused; `kumoi service rollout resume` goes on with it"
    assert said("en", conditions=(PAUSED,)) == f"nothing was decided yet; {paused}"
    assert said("en", step("steady"), state="deleting") == "the service is being deleted"
    assert said("ja", state="deleting") == "サービスは削除中である"


def job_said(language: str, code: str, **params: str) -> str:
    refusals = HostRefusal("no_cpu", 2), HostRefusal("far", 1)
    why = JobWhy("job_1", "queued", code, params, (), refusals, ())
    return job_why_said(Reader(Texts(), language), why).explanation


def test_what_hosts_say_follows_where_they_refuse() -> None:
    hosts = "2 not enough CPU free, 1 too far from the rest of the gang"
    assert job_said("en", "gang_refused") == f"the hosts do not take its gang together now: {hosts}"
    assert job_said("ja", "refused").endswith("（CPUの空きが足りない: 2台、ギャングの残りから遠すぎる: 1台）")
    assert job_said("en", "pool_paused") == "its pool is paused: work is accepted and held"
    assert job_said("en", "ended_why", state="failed", reason="exit 1") == "it has ended: failed (exit 1)"

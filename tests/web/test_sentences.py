"""Codes and figures become sentences in the reader's language."""

import pytest

from kumoi.model.services import Condition, ScaleStep, ServiceWhy
from kumoi.web.api.sentences import why_said
from kumoi.web.text import Reader, Texts

AT = "2027-01-15T08:00:00Z"
PAUSED = Condition("rollout_paused", AT, {"revision": "4"})


def said(
    language: str, *steps: ScaleStep, state: str = "active", conditions: tuple[Condition, ...] = ()
) -> str:
    why = ServiceWhy("svc_1", state, conditions, steps)
    return why_said(Reader(Texts(), language), why).explanation


def step(code: str, **figures: float) -> ScaleStep:
    return ScaleStep(AT, 1.0, 3, 0, 0, code, figures, "sca_1")


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "3 replicas for 7.12 requests at once, expected in 2 s, with a margin"),
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
    assert said("en", step("steady"), state="deleting") == "the service is deleting"
    assert said("ja", state="deleting") == "サービスの状態はdeleting"

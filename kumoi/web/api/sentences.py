"""Why things are as they are, as sentences in the reader's language, made from the codes that are kept.

English is with the decisions (`core`), other languages in the catalogue. Rows and stored answers hold codes
and figures only, so each reader is told in the language that was asked for, a replayed answer included.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace as answer_replace
from functools import partial
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from kumoi.core.autoscale.hosts_inputs import HOST_REASONS
from kumoi.core.autoscale.reasons import REASONS
from kumoi.core.placement.reasons import HOSTS_REFUSE, JOB_REASONS, REFUSALS
from kumoi.core.rollout_conditions import ADVICE, CONDITIONS
from kumoi.model.idempotency import Written
from kumoi.model.jobs import JobWhy
from kumoi.model.machines import Autoscale
from kumoi.model.services import Condition, ScaleStep, Service, ServiceWhy
from kumoi.web.api.answer import (
    Answer,
    answer_json,
    answer_versioned,
    answer_written,
    language_headers,
)
from kumoi.web.text import Reader, message

S = TypeVar("S", bound=msgspec.Struct)

_JOINT = message("; ")
_REFUSED = message("{explanation}: {refusals}")
_REFUSAL = message("{hosts} {reason}")
_COMMA = message(", ")
_NOT_ACTIVE = {
    "deleting": message("the service is being deleted"),
    "deleted": message("the service is deleted"),
}
_UNDECIDED = message("nothing was decided yet")
_encoder = msgspec.json.Encoder()
_service_decoder = msgspec.json.Decoder(Service)
_autoscale_decoder = msgspec.json.Decoder(Autoscale)


def service_answer(reader: Reader, service: Service) -> Answer:
    """A service with the sentences of its conditions, and its ETag."""
    return _told(reader, answer_versioned(_service_said(reader, service)))


def service_written(reader: Reader, written: Written) -> Answer:
    """The service that a write answered."""
    return _told(
        reader, answer_written(_rewritten(written, _service_decoder, partial(_service_said, reader)))
    )


def why_answer(reader: Reader, why: ServiceWhy) -> Answer:
    """The sentences of a service's conditions and decisions, and one that sums up."""
    return _told(reader, answer_json(why_said(reader, why)))


def job_why_answer(reader: Reader, why: JobWhy) -> Answer:
    """Why a job is where it is, with what its hosts say."""
    return _told(reader, answer_json(job_why_said(reader, why)))


def autoscale_answer(reader: Reader, autoscale: Autoscale) -> Answer:
    """How a pool's machines follow demand with the reason of the last decision, and its ETag."""
    return _told(reader, answer_versioned(_autoscale_said(reader, autoscale)))


def autoscale_written(reader: Reader, written: Written) -> Answer:
    """What a write of a pool's settings answered."""
    said = partial(_autoscale_said, reader)
    return _told(reader, answer_written(_rewritten(written, _autoscale_decoder, said)))


def why_said(reader: Reader, why: ServiceWhy) -> ServiceWhy:
    """`why` with its sentences."""
    steps = tuple(_step_said(reader, one) for one in why.steps)
    conditions = _conditions_said(reader, why.conditions)
    if why.state != "active":
        sentence = _sentence(reader, _NOT_ACTIVE, why.state, {})
    else:
        sentence = steps[-1].reason if steps else reader.say(_UNDECIDED)
    explanation = reader.say(_JOINT).join([sentence, *(one.text for one in conditions)])
    return replace(why, steps=steps, conditions=conditions, explanation=explanation)


def job_why_said(reader: Reader, why: JobWhy) -> JobWhy:
    """`why` with its sentences."""
    refusals = tuple(replace(one, reason=_sentence(reader, REFUSALS, one.code, {})) for one in why.refusals)
    explanation = _sentence(reader, JOB_REASONS, why.code, why.params)
    if why.code in HOSTS_REFUSE:
        listed = [reader.say(_REFUSAL, hosts=one.hosts, reason=one.reason) for one in refusals]
        explanation = reader.say(_REFUSED, explanation=explanation, refusals=reader.say(_COMMA).join(listed))
    return replace(why, refusals=refusals, explanation=explanation)


def _service_said(reader: Reader, service: Service) -> Service:
    return replace(service, conditions=_conditions_said(reader, service.conditions))


def _conditions_said(reader: Reader, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(replace(one, text=_condition_text(reader, one)) for one in conditions)


def _condition_text(reader: Reader, condition: Condition) -> str:
    """What is so, then what to do about it."""
    params = condition.params
    advice = [_sentence(reader, ADVICE, name, params) for name in ADVICE if name in params]
    return reader.say(_JOINT).join([_sentence(reader, CONDITIONS, condition.code, params), *advice])


def _step_said(reader: Reader, step: ScaleStep) -> ScaleStep:
    figures = {name: f"{round(value, 2):g}" for name, value in step.figures.items()}
    code = "forecast_none" if step.code == "forecast" and figures.get("forecast") == "0" else step.code
    reason = _sentence(reader, REASONS, code, {"wanted": step.wanted, **figures})
    return replace(step, reason=reason)


def _autoscale_said(reader: Reader, autoscale: Autoscale) -> Autoscale:
    if not autoscale.code:
        return autoscale
    return replace(autoscale, reason=_sentence(reader, HOST_REASONS, autoscale.code, autoscale.figures))


def _sentence(reader: Reader, table: Mapping[str, str], code: str, params: Mapping[str, object]) -> str:
    try:
        return reader.say(table[code], **params)
    except KeyError:
        # Kept by another version of the program: the code says at least which reason it was.
        return code


def _rewritten(written: Written, decoder: msgspec.json.Decoder[S], said: Callable[[S], S]) -> Written:
    """The answer of a write, which is kept without sentences for when it is asked again."""
    return Written(
        written.status, _encoder.encode(said(decoder.decode(written.body))), written.etag, written.replayed
    )


def _told(reader: Reader, answer: Answer) -> Answer:
    return answer_replace(answer, headers=(*answer.headers, *language_headers(reader)))

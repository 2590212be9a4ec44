"""The texts of answers in the reader's language.

The English text is the message id, and stays where it is raised; `kumoi/locale` holds the translations.
Where a catalogue is not compiled (`pybabel compile`), its language is answered in English.
"""

import gettext
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOCALE_DIR = Path(__file__).parent.parent / "locale"
DOMAIN = "kumoi"
ENGLISH = "en"
TRANSLATED = ("ja",)
_RANGES_MAX = 20


def message(text: str) -> str:
    """Mark `text` as a message id where it is written, to be translated where it is shown."""
    return text


class Texts:
    """The catalogues of every language that the plane speaks."""

    def __init__(self, directory: Path = LOCALE_DIR, translated: Sequence[str] = TRANSLATED) -> None:
        self._catalogues = {
            language: gettext.translation(DOMAIN, directory, [language], fallback=True)
            for language in translated
        }

    def language(self, accept: str | None) -> str:
        """The language that an Accept-Language asks for most (RFC 9110 section 12.5.4), else English."""
        if not accept:
            return ENGLISH
        best, best_quality = ENGLISH, 0.0
        for item in accept.split(",")[:_RANGES_MAX]:
            tag, _, parameter = item.strip().partition(";")
            language = tag.partition("-")[0].lower()
            quality = _quality(parameter.strip())
            if quality > best_quality and (language in self._catalogues or language in (ENGLISH, "*")):
                best, best_quality = (ENGLISH if language == "*" else language), quality
        return best

    def translate(self, language: str, text: str) -> str:
        """`text` in `language`; itself where no translation exists."""
        catalogue = self._catalogues.get(language)
        return text if catalogue is None else catalogue.gettext(text)

    def reader(self, accept: str | None) -> "Reader":
        """Who sent this Accept-Language."""
        return Reader(self, self.language(accept))


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads an answer, by language."""

    texts: Texts
    language: str

    def say(self, text: str, /, **params: object) -> str:
        """`text` in the reader's language, filled with `params`. KeyError if it names another one."""
        return self.texts.translate(self.language, text).format(**params)


def _quality(parameter: str) -> float:
    if not parameter.startswith("q="):
        return 1.0
    try:
        return min(max(float(parameter[2:]), 0.0), 1.0)
    except ValueError:
        return 0.0

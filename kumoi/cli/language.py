"""The language of the command line: English, or Japanese from the one catalogue.

Chosen by `--lang`, then KUMOI_LANG, then the locale (LC_ALL, LC_MESSAGES, LANG). English is what the code
says; where no catalogue is compiled it stays so. Texts are looked up when they are shown.
"""

import gettext
import os
from pathlib import Path
from typing import Final

DOMAIN: Final = "kumoi"
LANGUAGES: Final = ("en", "ja")
LOCALE_DIR: Final = Path(__file__).parent.parent / "locale"
_VARIABLES = ("KUMOI_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


class _Chosen:
    """What texts are looked up in."""

    tag = "en"
    catalogue: gettext.NullTranslations = gettext.NullTranslations()


def language_use(tag: str | None = None, directory: Path = LOCALE_DIR) -> None:
    """Show texts in `tag` from now on, or in what the environment asks for.

    click looks its own words up through the process's text domain, which follows LANGUAGE.
    """
    wanted = tag or next((value for name in _VARIABLES if (value := os.environ.get(name))), "en")
    _Chosen.tag = "ja" if wanted.lower().startswith("ja") else "en"
    _Chosen.catalogue = gettext.NullTranslations()
    if _Chosen.tag != "en":
        _Chosen.catalogue = gettext.translation(DOMAIN, directory, [_Chosen.tag], fallback=True)
    gettext.bindtextdomain(DOMAIN, str(directory))
    gettext.textdomain(DOMAIN)
    os.environ["LANGUAGE"] = _Chosen.tag


def language() -> str:
    """The language in use, as an HTTP language tag."""
    return _Chosen.tag


def _(text: str) -> str:
    """`text` in the language in use."""
    return _Chosen.catalogue.gettext(text) if text else text

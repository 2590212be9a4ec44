"""Every text that a caller may see has a translation that takes the same parameters."""

import ast
import importlib
import pkgutil
import string
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import kumoi
from kumoi.core.autoscale.hosts_inputs import HOST_REASONS
from kumoi.core.autoscale.reasons import REASONS
from kumoi.core.notices import TEXTS, TITLES
from kumoi.core.placement.reasons import JOB_REASONS, REFUSALS
from kumoi.core.rollout_conditions import ADVICE, CONDITIONS
from kumoi.model.errors import KumoiError
from kumoi.web.text import DOMAIN, ENGLISH, LOCALE_DIR, TRANSLATED, Texts

ROOT = Path(kumoi.__file__).parent
MARK = "message"
CODED = {
    "REASONS": REASONS,
    "HOST_REASONS": HOST_REASONS,
    "CONDITIONS": CONDITIONS,
    "ADVICE": ADVICE,
    "REFUSALS": REFUSALS,
    "JOB_REASONS": JOB_REASONS,
    "TITLES": TITLES,
    "TEXTS": TEXTS,
}
"""Sentences that are kept by their codes."""


def error_names() -> set[str]:
    """The names of all error classes that say (code, text) when they are raised."""
    for module in pkgutil.iter_modules([str(ROOT / "web" / "api")], "kumoi.web.api."):
        importlib.import_module(module.name)
    found, pending = set(), [KumoiError]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if kind.__init__ is KumoiError.__init__:
            found.add(kind.__name__)
    return found


def texts_of(path: Path, errors: set[str]) -> dict[str, str]:
    """Text -> place, of every error raised and every text marked in a file."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
        inherited = isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call)
        if name in errors or (name == "__init__" and inherited and len(node.args) >= 2):
            text = node.args[1]
        elif name == MARK and node.args:
            text = node.args[0]
        else:
            continue
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            if name in errors:
                params = {keyword.arg for keyword in node.keywords} - {"at"}
                assert None in params or fields(text.value) <= params, f"{path}:{node.lineno}"
            found[text.value] = f"{path.relative_to(ROOT.parent)}:{node.lineno}"
        elif name != "__init__":
            assert isinstance(text, ast.Name), f"{path}:{node.lineno} raises {name} with a computed text"
    return found


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    errors = error_names()
    found: dict[str, str] = {}
    for path in sorted(ROOT.rglob("*.py")):
        found |= texts_of(path, errors)
    found |= {text: f"{name}[{code}]" for name, table in CODED.items() for code, text in table.items()}
    assert len(found) > 80
    return found


def catalogue(language: str) -> Catalog:
    with (LOCALE_DIR / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_translated(texts: dict[str, str], language: str) -> None:
    translations = {message.id: message.string for message in catalogue(language) if message.id}
    missing = {text: place for text, place in texts.items() if not translations.get(text)}
    assert not missing
    command_line = {message.id for message in catalogue(language) if ("kumoi/cli", None) in message.locations}
    unsaid = translations.keys() - texts.keys() - command_line
    assert not unsaid, "translations of texts that nothing says any more"


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_take_the_same_parameters(language: str) -> None:
    for message in catalogue(language):
        if message.id:
            assert fields(message.string) == fields(message.id), message.id
            assert not message.fuzzy


@pytest.mark.parametrize("language", TRANSLATED)
@pytest.mark.parametrize("name", CODED)
def test_every_code_has_a_sentence_with_the_same_parameters(language: str, name: str) -> None:
    translations = {message.id: message.string for message in catalogue(language)}
    for code, text in CODED[name].items():
        assert translations.get(text), f"{name}[{code}]"
        assert fields(translations[text]) == fields(text), f"{name}[{code}]"


@pytest.fixture
def compiled(tmp_path: Path) -> Texts:
    for language in TRANSLATED:
        place = tmp_path / language / "LC_MESSAGES"
        place.mkdir(parents=True)
        with (place / f"{DOMAIN}.mo").open("wb") as file:
            write_mo(file, catalogue(language))
    return Texts(tmp_path)


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("ja", "ja"),
        ("ja-JP,ja;q=0.9,en;q=0.8", "ja"),
        ("en;q=0.9, ja;q=0.8", "en"),
        ("fr, ja;q=0.1", "ja"),
        ("fr", "en"),
        ("*", "en"),
        ("ja;q=0", "en"),
        ("ja;q=banana, en;q=0.1", "en"),
        (";;;,,,q=", "en"),
        ("fr," * 10_000 + "ja", "en"),
    ],
)
def test_language_is_negotiated(compiled: Texts, accept: str | None, language: str) -> None:
    assert compiled.language(accept) == language


def test_texts_are_translated_and_fall_back(compiled: Texts, tmp_path: Path) -> None:
    text = "the body is larger than {limit} bytes, which is the most allowed here"
    assert "バイト" in compiled.translate("ja", text)
    assert compiled.translate("ja", "never said") == "never said"
    assert compiled.translate(ENGLISH, text) == text
    assert Texts(tmp_path / "empty").translate("ja", text) == text

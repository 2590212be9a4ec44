"""Fuzz one target: `python -m fuzz TARGET [flags of libFuzzer]`; without a target the names are shown.

Seeds are written to build/fuzz/TARGET first, where libFuzzer keeps what leads further. An input that takes
longer than TIMEOUT_S is a finding, as is whatever `check` raises: it is left in build/fuzz.
"""

import importlib
import logging
import pkgutil
import sys
from pathlib import Path

import atheris

import fuzz.targets

PLACE = Path("build/fuzz")
TIMEOUT_S = 10
MEMORY_MIB = 2_048
INPUT_BYTES_MAX = 8_192


def main() -> int:
    """Run a target until its flags end it; 2 for an unknown one."""
    names = [found.name for found in pkgutil.iter_modules(fuzz.targets.__path__)]
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("\n".join(names))
        return 0 if len(sys.argv) < 2 else 2
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["kumoi"], enable_loader_override=False):
        target = importlib.import_module(f"fuzz.targets.{sys.argv[1]}")
    corpus = PLACE / sys.argv[1]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    flags = [f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={INPUT_BYTES_MAX}"]
    atheris.Setup(
        [sys.argv[0], f"-artifact_prefix={PLACE}/", *flags, *sys.argv[2:], str(corpus)], target.check
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())

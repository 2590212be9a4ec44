"""Every parser of bytes from outside, held to its target in `fuzz/`: real and changed material, noise."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz.targets

ROOT = Path(__file__).resolve().parents[2]

NAMES = [found.name for found in pkgutil.iter_modules(fuzz.targets.__path__)]
RUNS = 400
DEEP = 100_000


@pytest.fixture(params=NAMES)
def target(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"fuzz.targets.{request.param}")


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Real material with pieces of it cut, repeated, flipped or put elsewhere, or noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        other = draw(
            st.sampled_from([b"", b"\n", b"\0", b"\xff", bytes(data[at:end]) * 2, b"9" * 25, b'"', b"="])
        )
        data[at:end] = other
    return bytes(data)


def test_real_material_and_changed_material(target: ModuleType) -> None:
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.check(seed)

    @settings(max_examples=150, database=None)
    @given(changed(seeds))
    def check(data: bytes) -> None:
        target.check(data)

    check()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 50,
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"a=" + b"[" * DEEP,
        b"\n" * DEEP,
        b"a" * DEEP,
        json.dumps({"events": [{"canonical": "AA=="}] * 1_000}).encode(),
    ],
    ids=["nothing", "no text", "deep list", "deep object", "deep TOML", "lines", "long", "many"],
)
def test_what_is_deep_long_or_nothing(target: ModuleType, data: bytes) -> None:
    target.check(data)


@pytest.mark.parametrize("name", NAMES)
def test_the_harness_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", name, f"-runs={RUNS}", "-seed=1"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert f"Done {RUNS} runs" in done.stderr
    assert list((tmp_path / "build" / "fuzz" / name).glob("seed-*"))

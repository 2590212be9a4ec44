"""The catalogue of devices, its names, and the figures that are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.devices import CATALOGUE, FigureProblem, figure_problem, model_name


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("Tesla V100-SXM2-32GB", "V100-SXM2"),
        ("AMD Instinct MI300X", "MI300X"),
        ("nvidia  b200 ", "nvidia b200"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
        ("a/b (c)", "a b c"),
        ("\u65e5", "unknown"),
    ],
)
def test_names_that_drivers_give_become_the_catalogues(reported: str, name: str) -> None:
    assert model_name(reported) == name


def test_every_entry_is_plausible_and_known_by_its_own_name() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name == model_name(name)
        assert entry.fp16_dense_gflops > 0
        assert entry.memory_bytes > 0
        assert "https://" in entry.datasheet
    assert CATALOGUE["H100"].fp16_dense_gflops == CATALOGUE["H200"].fp16_dense_gflops == 989_400


@pytest.mark.parametrize(
    ("dense", "sparse", "known", "problem"),
    [
        (989_400, None, 989_400, None),
        (989_400, None, None, FigureProblem.SPARSE_UNSAID),
        (989_400, 0, None, None),
        (1_500_000, None, 989_400, FigureProblem.ABOVE_THE_KNOWN),
        (1_500_000, 3_000_000, 989_400, FigureProblem.ABOVE_THE_KNOWN),
        (2_050_000, None, 989_400, FigureProblem.ABOVE_THE_KNOWN),
        (1_000_000, None, 989_400, None),
        (989_400, 1_978_900, 989_400, None),
        (989_400, 1_979_000, None, None),
        (1_979_000, None, 989_400, FigureProblem.TWICE_THE_KNOWN),
        (1_978_900, 1_978_900, None, FigureProblem.NOT_DENSE),
        (1_978_900, 989_400, None, FigureProblem.NOT_DENSE),
        (989_400, 3_957_800, None, FigureProblem.RATIO),
        (989_400, 1_000_000, None, FigureProblem.RATIO),
        (1_307_400, 2_614_900, 1_307_400, None),
        (2_615_000, None, 1_307_400, FigureProblem.TWICE_THE_KNOWN),
        (0, 0, None, None),
    ],
)
def test_figures_with_sparsity_are_refused(
    dense: int, sparse: int | None, known: int | None, problem: FigureProblem | None
) -> None:
    assert figure_problem(dense, sparse, known) is problem


@given(st.integers(1, 10**8))
def test_a_doubled_figure_never_passes_beside_the_known_one(dense: int) -> None:
    assert figure_problem(2 * dense, None, dense) is FigureProblem.TWICE_THE_KNOWN
    assert figure_problem(dense, 2 * dense, dense) is None
    assert figure_problem(2 * dense, 2 * dense, dense) is FigureProblem.NOT_DENSE

"""The catalogue of devices: what a model computes at most in half precision, and what figure is refused.

Figures are the theoretical peak of dense FP16 on the units for matrices (policy chapter 3 section 2 (2) note:
half precision, without what sparsity gains), in whole GFLOPS, as the maker's datasheet gives them. ADR 0011
says what an entry is worth before somebody recorded the digest of that datasheet.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

GPU = "gpu"
_GB = 10**9
_TOLERANCE_PERCENT = 2
"""How far datasheets round: the H100's say 1,979 with sparsity and 989.4 without."""
_NO_NAME = re.compile(r"[^A-Za-z0-9 ._+-]")
_MAKERS = ("NVIDIA ", "Tesla ", "AMD ", "Instinct ")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A device model that is known from the start. `reported` are drivers' names for it."""

    name: str
    vendor: str
    fp16_dense_gflops: int
    memory_bytes: int
    datasheet: str
    reported: tuple[str, ...]
    kind: str = GPU


class FigureProblem(StrEnum):
    """Why a figure is refused (C-19)."""

    NOT_DENSE = "not_dense"
    """The figure given as dense is not below the one with sparsity."""
    RATIO = "ratio"
    """The figure with sparsity is not twice the dense one: at least one of them is of something else."""
    TWICE_THE_KNOWN = "twice_the_known"
    """The figure is twice what the catalogue knows: it is the one with sparsity."""
    ABOVE_THE_KNOWN = "above_the_known"
    """The figure is more than the catalogue knows of the model: it is of something else."""
    SPARSE_UNSAID = "sparse_unsaid"
    """Nothing is known of the model, and nobody said what its datasheet gives with sparsity."""


def _entry(
    name: str, vendor: str, gflops: int, memory_gb: int, datasheet: str, *reported: str
) -> tuple[str, CatalogueEntry]:
    return name, CatalogueEntry(name, vendor, gflops, memory_gb * _GB, datasheet, (name, *reported))


_A100 = "NVIDIA A100 Tensor Core GPU datasheet, https://www.nvidia.com/en-us/data-center/a100/"
_H100 = "NVIDIA H100 Tensor Core GPU Architecture whitepaper, https://www.nvidia.com/en-us/data-center/h100/"
_H200 = "NVIDIA H200 Tensor Core GPU datasheet, https://www.nvidia.com/en-us/data-center/h200/"
_BLACKWELL = "NVIDIA Blackwell datasheet, https://www.nvidia.com/en-us/data-center/hgx/"
_GB200 = "NVIDIA GB200 NVL72 datasheet, https://www.nvidia.com/en-us/data-center/gb200-nvl72/"
_V100 = "NVIDIA V100 datasheet, https://www.nvidia.com/en-us/data-center/v100/"
_T4 = "NVIDIA T4 datasheet, https://www.nvidia.com/en-us/data-center/tesla-t4/"
_A30 = "NVIDIA A30 Tensor Core GPU datasheet, https://www.nvidia.com/en-us/data-center/products/a30-gpu/"
_L4 = "NVIDIA L4 Tensor Core GPU datasheet, https://www.nvidia.com/en-us/data-center/l4/"
_MI300X = "AMD Instinct MI300X data sheet, https://www.amd.com/en/products/accelerators/instinct.html"
_MI325X = "AMD Instinct MI325X data sheet, https://www.amd.com/en/products/accelerators/instinct.html"

CATALOGUE: Mapping[str, CatalogueEntry] = MappingProxyType(
    dict(
        (
            _entry("A100-40GB", "NVIDIA", 312_000, 40, _A100, "A100-SXM4-40GB", "A100-PCIE-40GB"),
            _entry("A100-80GB", "NVIDIA", 312_000, 80, _A100, "A100-SXM4-80GB", "A100 80GB PCIe"),
            _entry("A30", "NVIDIA", 165_000, 24, _A30),
            _entry("B200", "NVIDIA", 2_250_000, 180, _BLACKWELL),
            _entry("GB200", "NVIDIA", 2_500_000, 186, _GB200),
            _entry("H100", "NVIDIA", 989_400, 80, _H100, "H100 80GB HBM3"),
            _entry("H100-PCIe", "NVIDIA", 756_000, 80, _H100, "H100 PCIe"),
            _entry("H200", "NVIDIA", 989_400, 141, _H200),
            _entry("L4", "NVIDIA", 121_000, 24, _L4),
            _entry("MI300X", "AMD", 1_307_400, 192, _MI300X),
            _entry("MI325X", "AMD", 1_307_400, 256, _MI325X),
            _entry("T4", "NVIDIA", 65_000, 16, _T4),
            _entry("V100-PCIe", "NVIDIA", 112_000, 32, _V100, "V100-PCIE-16GB", "V100-PCIE-32GB"),
            _entry("V100-SXM2", "NVIDIA", 125_000, 32, _V100, "V100-SXM2-16GB", "V100-SXM2-32GB"),
        )
    )
)
"""Only figures that makers' own papers give plainly. Others are entered by operators, from the datasheet."""

_BY_REPORTED = {
    reported.casefold(): entry.name for entry in CATALOGUE.values() for reported in entry.reported
}


def model_name(reported: str) -> str:
    """The catalogue's name of what a driver calls `reported`: "NVIDIA H100 80GB HBM3" is an H100.

    What the catalogue does not know keeps its name without the maker's, so that an operator may enter it.
    """
    name = " ".join(_NO_NAME.sub(" ", reported).split())
    for maker in _MAKERS:
        name = name.removeprefix(maker)
    return _BY_REPORTED.get(name.casefold(), name[:128].strip(" .-_") or "unknown")


def figure_problem(
    dense_gflops: int, sparse_gflops: int | None, known_gflops: int | None
) -> FigureProblem | None:
    """Why `dense_gflops` cannot be a dense peak; None if nothing speaks against it.

    `sparse_gflops` is what the same datasheet gives with sparsity (0: nothing, None: nobody said),
    `known_gflops` what the catalogue holds for the model. Sparsity of two in four doubles the peak, so the
    three must agree; a figure of which only one is there is not believed.
    """
    if sparse_gflops:
        if dense_gflops >= sparse_gflops:
            return FigureProblem.NOT_DENSE
        if not _near(sparse_gflops, 2 * dense_gflops):
            return FigureProblem.RATIO
    if known_gflops is None:
        return FigureProblem.SPARSE_UNSAID if sparse_gflops is None else None
    if _near(dense_gflops, 2 * known_gflops):
        return FigureProblem.TWICE_THE_KNOWN
    if dense_gflops * 100 > known_gflops * (100 + _TOLERANCE_PERCENT):
        return FigureProblem.ABOVE_THE_KNOWN
    return None


def _near(one: int, other: int) -> bool:
    return abs(one - other) * 100 <= other * _TOLERANCE_PERCENT

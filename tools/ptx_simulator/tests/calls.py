"""Calls of ops, for which the CUDA kernels and the CPU kernels are to do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from device import Launch, array_of, on_device, ptx_device
from tables import (
    GROUP,
    Reach,
    Tier,
    check_traffic,
    compute_type,
    join_of,
    takes_eights,
    tier_of,
    tier_of_pair,
)
from torch import Tensor

import effebm_ext as eff
from effebm_ext.ops.compressor import FusedCompressor

KEY = eff.Key(-7, offset=2**33 + 1, first_chain=2**31)
STEP = 0.3
STATISTICS, TRANSITION = "statistics", "transition"
Clip = eff.ClipValue | eff.ClipNorm
Bounds = tuple[float, float] | eff.Reflect
Tensors = dict[str, Tensor]


class Call(NamedTuple):
    """An op, and the tensors that it takes, by name."""

    op: str
    tensors: Tensors
    run: Callable[[Tensors], Tensors]  # returns what it has written, by name
    compressor: FusedCompressor | None = None
    clip: Clip | None = None
    reports: bool = False  # a drift or sums over rows
    plain: bool = False  # a step without options

    @property
    def rows(self) -> Tensor:
        return self.tensors["grad" if "grad" in self.tensors else "x"]

    @property
    def tier(self) -> Tier:
        if self.op == "perturbed_pair":
            return tier_of_pair(self.rows.shape[1])
        in_place = self.op == "langevin_step_" and "step_sizes" not in self.tensors
        return tier_of(self.compressor, self.rows, self.reports, in_place)

    @property
    def kernels(self) -> list[str]:
        """The kernels that are to be launched."""
        dim = self.rows.shape[1]
        norms = ["sum_squares", join_of(dim)] if isinstance(self.clip, eff.ClipNorm) else []
        sums = [join_of(dim)] if self.reports and dim > GROUP else []
        return [*norms, *self.tier.kernels, *sums]

    def check(self, shift: int = 0, again: int = 0, most_blocks: int | None = None) -> list[Launch]:
        """Checks that the kernels make the same bits, and touch no tensor more than they have to.
        Returns the launches. ``shift``: so many elements lie between aligned memory and the
        tensors; ``again``: see ``Reach``; ``most_blocks``: see ``ptx_device``."""
        expected = self.run({name: t.clone() for name, t in self.tensors.items()})
        given = {name: on_device(t, shift) for name, t in self.tensors.items()}
        with ptx_device(most_blocks) as device:
            made = self.run(given)
        for name, tensor in expected.items():
            same = array_of(made[name]).tobytes() == array_of(tensor.contiguous()).tobytes()
            assert same, name
        assert [one.function for one in device.launches] == self.kernels
        norms = int(isinstance(self.clip, eff.ClipNorm))  # another pass over the gradient
        reach = Reach(*self._vectors(shift), norms, again)
        check_traffic(self.op, device.launches, self.tier, reach)
        return device.launches

    def _vectors(self, shift: int) -> tuple[bool, bool]:
        """Tells whether kernels reach rows by four elements, and flat ones by eight."""
        quads, eights = ((self.rows.shape[1] | shift) % n == 0 for n in (4, 8))
        of_16_bits = self.rows.dtype.itemsize == 2 and self.plain and not self.reports
        return quads, eights and of_16_bits and takes_eights(self.compressor, self.rows)


def values(rows: int, dim: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(dim + seed))
    x[:, ::3] = x[:, ::3].round()  # zeros, and ties: Top-k of 30 % cuts those of magnitude 1
    return x.to(dtype)


def compression(x: Tensor, compressor: FusedCompressor) -> Call:
    def run(t: Tensors) -> Tensors:
        return t | {"out": compressor.compress(t["x"], rng=KEY)}

    return Call("compress", {"x": x}, run, compressor)


def step(
    rows: int, dim: int, dtype: torch.dtype, compressor: FusedCompressor | None = None, *,
    residual: bool = False, clip: Clip | None = None, bounds: Bounds | None = None,
    noise_std: float | None = None, per_chain: bool = False, of_elements: bool = False,
    sums: str | None = None,
) -> Call:  # fmt: skip
    """langevin_step_ or, where the sums of a transition are wanted, langevin_transition.
    ``per_chain``: the step sizes are a tensor, and so is the noise's standard deviation;
    ``of_elements``: tensors with a value for each element, of which chains share the latter."""
    compute = compute_type(dtype)
    tensors = {"x": values(rows, dim, dtype), "grad": values(rows, dim, dtype, 1)}
    if residual:
        tensors["residual"] = values(rows, dim, compute, 2)
    if sums == STATISTICS:
        tensors["statistics"] = torch.full((rows, 2), 77, dtype=compute)
    if per_chain:
        tensors["step_sizes"] = torch.linspace(0.1, 0.4, rows).to(compute)
        tensors["noise_stds"] = torch.tensor(0.7, dtype=compute)
    if of_elements:
        tensors["step_sizes"] = values(rows, dim, compute, 3).abs()
        tensors["noise_stds"] = values(1, dim, compute, 4).abs()

    def run(t: Tensors) -> Tensors:
        arguments = (t["x"], t["grad"], t.get("step_sizes", STEP))
        options: dict[str, Any] = {
            "noise_std": t.get("noise_stds", noise_std), "compressor": compressor, "clip": clip,
            "bounds": bounds, "residual": t.get("residual"), "rng": KEY,
        }  # fmt: skip
        if sums == TRANSITION:
            out, drift, *of_rows = eff.langevin_transition(*arguments, **options)
            return t | {"out": out, "drift": drift, "row_sums": torch.stack(of_rows, dim=1)}
        eff.langevin_step_(*arguments, statistics=t.get("statistics"), **options)
        return t

    op = "langevin_transition" if sums == TRANSITION else "langevin_step_"
    plain = not residual and clip is None and bounds is None
    reports = sums is not None
    return Call(op, tensors, run, compressor, clip, reports, plain)


def drift(
    rows: int, dim: int, dtype: torch.dtype, compressor: FusedCompressor | None, clip: Clip,
    with_delta: bool,
) -> Call:  # fmt: skip
    tensors = {"grad": values(rows, dim, dtype)}
    if with_delta:
        tensors["delta"] = values(rows, dim, compute_type(dtype), 1)

    def run(t: Tensors) -> Tensors:
        applied, *sums = eff.drift(
            t["grad"], compressor=compressor, clip=clip, delta=t.get("delta"), rng=KEY
        )
        return t | {"drift": applied, "row_sums": torch.stack(sums, dim=1)}

    return Call("drift", tensors, run, compressor, clip, reports=True)


def pair(rows: int, dim: int, dtype: torch.dtype) -> Call:
    noise_std = torch.linspace(0, 2, rows).to(compute_type(dtype))
    tensors = {"x": values(rows, dim, dtype), "noise_stds": noise_std}

    def run(t: Tensors) -> Tensors:
        out, noise_dot = eff.perturbed_pair(t["x"], 0.3, noise_std=t["noise_stds"], rng=KEY)
        return t | {"out": out, "noise_dot": noise_dot}

    return Call("perturbed_pair", tensors, run)

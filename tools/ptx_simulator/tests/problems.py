"""Rows for which the CUDA kernels and the CPU kernels are to do the same."""

from __future__ import annotations

from typing import Any

import torch
from launches import Tier, Work, step
from library import DTYPES, Blocks, CompressParams, Device, StepParams, fields
from ptx_simulator import Counters
from torch import Tensor

import effebm_ext as eff
from effebm_ext import _C
from effebm_ext.ops.compressor import NO_COMPRESSOR
from effebm_ext.ops.compressor import FusedCompressor as Compressor

KEY = eff.Key(-7, offset=2**33 + 1, first_chain=2**31)
STEP = 0.3
STATISTICS, TRANSITION = _C.ROW_SUMS_STATISTICS, _C.ROW_SUMS_TRANSITION
Clip = eff.ClipValue | eff.ClipNorm
Bounds = tuple[float, float] | eff.Reflect


def values(rows: int, dim: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(dim + seed))
    x[:, ::3] = x[:, ::3].round()  # zeros, and ties: Top-k of 30 % cuts those of magnitude 1
    return x.to(dtype)


def compute_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def unwritten(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.full_like(x, 77, dtype=dtype)


class Problem:
    """Some tensors by name, of which kernels may write the `written` ones."""

    work: Work

    def __init__(
        self, compressor: Compressor | None, written: set[str], tensors: dict[str, Tensor]
    ) -> None:
        x = tensors["x"] if "x" in tensors else tensors["grad"]
        arguments = compressor.kernel_arguments(x) if compressor else NO_COMPRESSOR
        code, size, offsets = arguments
        if compressor and compressor.is_random:
            tensors = tensors | {"key": torch.tensor([KEY.seed, 0])}
        if offsets is not None:
            tensors = tensors | {"block_offsets": offsets}
        self.tensors, self.compressor, self.device = tensors, compressor, Device(**tensors)
        self.device.protect(*set(tensors) - written)
        self.size, count = size, len(offsets) - 1 if offsets is not None else 0
        pointers = self.device.pointers()
        self.blocks = Blocks(x.shape[1], size, pointers.get("block_offsets", 0), count)
        self._given = {
            "rows": x.shape[0], "dim": x.shape[1], "compressor": code, "compressor_size": size,
            "n_blocks": count, "offset": KEY.offset,
            "first_chain": KEY.first_chain, **pointers,
        }  # fmt: skip

    def params(self, kind: type[Any], **options: Any) -> Any:
        given = {name: value for name, value in self._given.items() if name in fields(kind)}
        return kind(**given | options)

    def expected(self) -> dict[str, Tensor]:
        """Returns what the CPU kernel makes of the tensors."""
        raise NotImplementedError

    def traffic(self, passes: int) -> dict[str, tuple[int, int]]:
        """Returns how often each tensor has to be read and written, if the compressor's input is
        read in so many passes."""
        raise NotImplementedError

    def marks(self) -> dict[str, tuple[int, int]]:
        """The traffic of what Random-k chooses, which every quad has a byte of."""
        marked = isinstance(self.compressor, eff.RandomK)
        return {"marks": (1, 1)} if marked else {}

    def floor(self, passes: int = 1) -> int:
        """Returns how many bytes that makes."""
        traffic = self.traffic(passes)
        return sum(self.device.arrays[name].nbytes * sum(times) for name, times in traffic.items())

    def check(self, tier: Tier, passes: int = 1) -> Counters:
        """Checks that the tier makes the same bits, and touches no tensor more than it has to."""
        fused = isinstance(self.work.params, StepParams)
        counters = step(self.work, tier) if fused else tier(self.work)
        for name, tensor in self.expected().items():
            assert self.device.holds(name, tensor), name
        for name, (reads, writes) in self.traffic(passes).items():
            buffer, array = counters.buffer(name), self.device.arrays[name]
            moved = (buffer.read_bytes, buffer.written_bytes)
            assert moved == (reads * array.nbytes, writes * array.nbytes), name
            single = name == "marks" or not self.work.vector
            width = array.itemsize if single else min(16, 4 * array.itemsize)
            assert set(buffer.store_widths) <= {width}, name
            assert reads != 1 or set(buffer.load_widths) == {width}, name
        return counters


class Compression(Problem):
    """The op that only compresses."""

    def __init__(self, x: Tensor, compressor: Compressor) -> None:
        super().__init__(compressor, {"out"}, {"x": x, "out": unwritten(x)})
        row, params = f"CompressRow<{DTYPES[x.dtype]}>", self.params(CompressParams)
        self.work = Work("compress", row, params, self.device, x.dtype, self.blocks, self.size)

    def expected(self) -> dict[str, Tensor]:
        assert self.compressor is not None
        return {"out": self.compressor.compress(self.tensors["x"], rng=KEY)}

    def traffic(self, passes: int) -> dict[str, tuple[int, int]]:
        return {"x": (passes, 0), "out": (0, 1), **self.marks()}


class Step(Problem):
    """langevin_step_ or, where the sums of a transition are wanted, langevin_transition."""

    def __init__(
        self, rows: int, dim: int, dtype: torch.dtype, compressor: Compressor | None = None, *,
        residual: bool = False, clip: Clip | None = None, bounds: Bounds | None = None,
        noise_std: float | None = None, per_chain: bool = False, sums: int = 0,
    ) -> None:  # fmt: skip
        """`per_chain`: the step sizes are a tensor, and so is the noise's standard deviation."""
        x, compute = values(rows, dim, dtype), compute_type(dtype)
        tensors = {"x": x, "grad": values(rows, dim, dtype, 1), "key": torch.tensor([KEY.seed, 0])}
        if residual:
            tensors["residual"] = values(rows, dim, compute, 2)
        if sums:
            tensors["row_sums"] = torch.full((rows, 2), 77, dtype=compute)
        if sums == TRANSITION:
            tensors |= {"out": unwritten(x), "drift": unwritten(x, compute)}
        if per_chain:
            tensors["step_sizes"] = torch.linspace(0.1, 0.4, rows).to(compute)
            tensors["noise_stds"] = torch.tensor(0.7, dtype=compute)
        written = {"residual", "row_sums", "drift", "out" if sums == TRANSITION else "x"}
        super().__init__(compressor, written, tensors)
        self.clip, self.sums = clip, sums
        self.options: dict[str, Any] = {
            "noise_std": tensors.get("noise_stds", noise_std), "compressor": compressor,
            "clip": clip, "bounds": bounds, "residual": tensors.get("residual"), "rng": KEY,
        }  # fmt: skip
        params = self.params(
            StepParams, step_size=STEP, step_sizes_stride=int(per_chain), row_sums_of=sums,
            has_noise_std=noise_std is not None, noise_std=noise_std or 0, **_limits(clip, bounds),
        )  # fmt: skip
        params.out = params.out or params.x
        row = f"StepRow<{DTYPES[dtype]}, {str(sums > 0).lower()}>"
        self.work = Work("langevin_step", row, params, self.device, dtype, self.blocks, self.size)

    def expected(self) -> dict[str, Tensor]:
        made = {name: tensor.clone() for name, tensor in self.tensors.items()}
        options = self.options | {"residual": made.get("residual")}
        arguments = (made["x"], made["grad"], made.get("step_sizes", STEP))
        if self.sums == TRANSITION:
            x, drift, *sums = eff.langevin_transition(*arguments, **options)
            return made | {"out": x, "drift": drift, "row_sums": torch.stack(sums, dim=1)}
        eff.langevin_step_(*arguments, statistics=made.get("row_sums"), **options)
        return made

    def traffic(self, passes: int) -> dict[str, tuple[int, int]]:
        in_place = self.sums != TRANSITION
        state = {"x": (1, 1)} if in_place else {"x": (1, 0), "out": (0, 1), "drift": (0, 1)}
        memory = {"residual": (passes, 1)} if "residual" in self.tensors else {}
        grad = {"grad": (passes + _passes_of(self.clip), 0)}
        return grad | state | memory | self.marks()


class Drift(Problem):
    """The op drift, which moves no state."""

    def __init__(
        self, rows: int, dim: int, dtype: torch.dtype, compressor: Compressor | None, clip: Clip,
        with_delta: bool,
    ) -> None:  # fmt: skip
        grad, compute = values(rows, dim, dtype), compute_type(dtype)
        tensors = {"grad": grad, "drift": unwritten(grad, compute)}
        if with_delta:
            tensors["delta"] = values(rows, dim, compute, 1)
        tensors["row_sums"] = torch.full((rows, 2), 77, dtype=compute)
        super().__init__(compressor, {"drift", "row_sums"}, tensors)
        self.clip = clip
        params = self.params(StepParams, row_sums_of=TRANSITION, **_limits(clip, None))
        row = f"StepRow<{DTYPES[dtype]}, true>"
        self.work = Work("langevin_step", row, params, self.device, dtype, self.blocks, self.size)

    def expected(self) -> dict[str, Tensor]:
        delta = self.tensors.get("delta")
        drift, *sums = eff.drift(
            self.tensors["grad"], compressor=self.compressor, clip=self.clip, delta=delta, rng=KEY
        )
        return {"drift": drift, "row_sums": torch.stack(sums, dim=1)}

    def traffic(self, passes: int) -> dict[str, tuple[int, int]]:
        delta = {"delta": (1, 0)} if "delta" in self.tensors else {}
        grad = {"grad": (passes + _passes_of(self.clip), 0)}
        return grad | {"drift": (0, 1)} | delta | self.marks()


def _passes_of(clip: Clip | None) -> int:
    return int(isinstance(clip, eff.ClipNorm))  # for the norms of rows


def _limits(clip: Clip | None, bounds: Bounds | None) -> dict[str, float]:
    limits: dict[str, float] = {}
    if clip is not None:
        kind = _C.CLIP_VALUE if isinstance(clip, eff.ClipValue) else _C.CLIP_NORM
        limits |= {"clip": kind, "clip_limit": clip.limit}
    if isinstance(bounds, eff.Reflect):
        limits |= {"bounds": _C.BOUNDS_REFLECT, "lower": bounds.lower, "upper": bounds.upper}
    elif bounds is not None:
        limits |= {"bounds": _C.BOUNDS_CLAMP, "lower": bounds[0], "upper": bounds[1]}
    return limits

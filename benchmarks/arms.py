"""What is timed: the ways to take one Langevin step, and the floors under them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable

import torch
from forms import HALF_STEP, STEP_SIZE, Scratch, moves
from torch import Tensor

import effebm_ext as eff
from effebm_ext.ops.compressor import Compressor
from effebm_ext.runs.options.parsing import parse_compressor

OPS = ("plain", "block-sign:64", "topk:0.001", "topk:0.01", "topk:0.1", "topk:0.5")
# Elements per thread: small enough for a core's own cache to hold their state and gradient, large
# enough for the call to cost little.
_RESIDENT = 2**17

# Writes x, or returns the new state.
Step = Callable[[Tensor, Tensor], Tensor | None]


@dataclasses.dataclass(frozen=True)
class Case:
    """One operation on states of one shape."""

    op: str
    rows: int
    dim: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    threads: int = 1

    @property
    def elements(self) -> int:
        return self.rows * self.dim

    @property
    def shape(self) -> str:
        return f"{self.rows}x{self.dim}"

    @property
    def compressor(self) -> Compressor | None:
        return None if self.op == "plain" else parse_compressor(self.op)

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A contender: ``build(noisy)`` prepares its buffers and returns ``step(x, grad)``.

    A step of group ``floor`` is not a whole Langevin step, so there is nothing to verify.
    """

    name: str
    group: str  # ours, pytorch, compile, torchebm or floor
    build: Callable[[bool], Step]
    elements: int


def arms(case: Case) -> list[Arm]:
    """All contenders but the compiled ones, which are made from the fastest of these."""
    found = [Arm("ours", "ours", functools.partial(_ours, case), case.elements)]
    for name in moves(case.compressor, case.dim, dict):
        build = functools.partial(_eager, case, name)
        found.append(Arm(name, "pytorch", build, case.elements))
    if case.compressor is None:
        build = functools.partial(_torchebm, case)
        found.append(Arm("torchebm", "torchebm", build, case.elements))
        if case.device == "cuda" and case.dtype == torch.float32:  # no other is supported
            found.append(Arm("torchebm fused", "torchebm", _torchebm_fused, case.elements))
    return found + floors(case)


def floors(case: Case) -> list[Arm]:
    """What bounds a step from below: memory traffic, the noise, and the compression alone."""
    copy = Arm("copy", "floor", lambda _: lambda x, g: x.copy_(g), case.elements)
    axpy = Arm("axpy", "floor", lambda _: lambda x, g: x.add_(g, alpha=-HALF_STEP), case.elements)
    found = [copy, axpy]
    if case.device == "cpu":  # what stays in a GPU's cache is done before the next launch
        found.append(noise_floor(case))
    if case.compressor is not None:
        compress = case.compressor.compress
        found.append(Arm("compress", "floor", lambda _: lambda x, g: compress(g), case.elements))
    return found


def noise_floor(case: Case) -> Arm:
    """Generation of as many normals as the case needs, by plain steps on a block that stays in
    cache: what is left of a step when memory costs next to nothing."""
    block = min(case.elements, _RESIDENT * case.threads)
    calls = math.ceil(case.elements / block)

    def build(noisy: bool) -> Step:
        # 16 rows, so that kernels that split by rows can use their threads.
        rows = math.gcd(16, block)
        x, g = (case.empty(rows, block // rows).normal_() for _ in range(2))
        step = _ours(dataclasses.replace(case, op="plain"), noisy)

        def fill(_x: Tensor, _g: Tensor) -> None:
            for _ in range(calls):
                step(x, g)

        return fill

    return Arm("noise", "floor", build, calls * block)


def _ours(case: Case, noisy: bool) -> Step:
    key, steps, compressor = eff.Key(0), itertools.count(), case.compressor
    noise_std = None if noisy else 0.0

    def step(x: Tensor, g: Tensor) -> None:
        rng = key.at(next(steps))
        eff.langevin_step_(x, g, STEP_SIZE, compressor=compressor, noise_std=noise_std, rng=rng)

    return step


def _eager(case: Case, name: str, noisy: bool) -> Step:
    def scratch() -> Scratch:  # empty tensors grow on their first use as out= and then stay
        buffers: Scratch = {key: case.empty(0) for key in ("magnitude", "scale", "sign", "kept")}
        index = torch.empty(0, dtype=torch.int64, device=case.device)
        return buffers | {"selected": (case.empty(0), index)}

    move = moves(case.compressor, case.dim, scratch)[name]
    noise, noise_std = case.empty(case.rows, case.dim), noisy * math.sqrt(STEP_SIZE)

    def step(x: Tensor, g: Tensor) -> None:
        move(x, g)
        x.add_(noise.normal_(), alpha=noise_std)

    return step


def compiled(case: Case, name: str) -> list[Arm]:
    """``torch.compile`` of a form without buffers, which would have to be written for nothing.

    With the noise in the graph, where it is fused; on a CPU, whose generator of compiled noise is
    slow, with the noise drawn before, too.
    """
    move = moves(case.compressor, case.dim, dict)[name]

    # The standard deviation is a tensor, so that what is verified without noise is what is timed.
    @torch.compile(dynamic=False)
    def drawing(x: Tensor, g: Tensor, noise_std: Tensor) -> None:
        move(x, g)
        x.add_(torch.randn_like(x) * noise_std)

    @torch.compile(dynamic=False)
    def adding(x: Tensor, g: Tensor, noise_std: Tensor, noise: Tensor) -> None:
        move(x, g)
        x.add_(noise * noise_std)

    def std(noisy: bool) -> Tensor:
        value = noisy * math.sqrt(STEP_SIZE)
        return torch.tensor(value, dtype=case.dtype, device=case.device)

    def build_drawing(noisy: bool) -> Step:
        noise_std = std(noisy)
        return lambda x, g: drawing(x, g, noise_std)

    def build_adding(noisy: bool) -> Step:
        noise_std, noise = std(noisy), case.empty(case.rows, case.dim)
        return lambda x, g: adding(x, g, noise_std, noise.normal_())

    found = [Arm("compile", "compile", build_drawing, case.elements)]
    if case.device == "cpu":
        found.append(Arm("compile, noise before", "compile", build_adding, case.elements))
    return found


def _torchebm(case: Case, noisy: bool) -> Step:
    """The body of the loop in torchebm's ``LangevinDynamics.sample``, with the gradient given."""
    from torchebm.samplers import LangevinDynamics

    sampler = LangevinDynamics(
        torch.nn.Identity(), step_size=HALF_STEP, dtype=case.dtype, device=case.device
    )

    def step(x: Tensor, g: Tensor) -> Tensor:
        state = sampler.integrator.step(
            state={"x": x},
            step_size=sampler.get_scheduled_value("step_size"),
            noise_scale=noisy * sampler.get_scheduled_value("noise_scale"),
            drift=lambda x_, t_: -g,
        )
        sampler.step_schedulers()
        return state["x"]

    return step


def _torchebm_fused(noisy: bool) -> Step:
    """torchebm's Triton kernel, noise included."""
    from torchebm.cuda.fused_langevin import fused_langevin_step

    seeds = itertools.count(3, 2)  # Triton compiles anew for a 1 and for multiples of 16
    return lambda x, g: fused_langevin_step(
        x, g, HALF_STEP, noise_scale=float(noisy), seed=next(seeds), out=x
    )

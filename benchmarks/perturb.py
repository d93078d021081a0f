"""Times the two perturbed batches of finite-difference score matching, ``x + noise +- v`` with v of
a given length in a random direction, against plain PyTorch.

    python benchmarks/perturb.py
    python benchmarks/perturb.py --device cuda --out runs/perturb
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from arms import Arm, Case, noise_floor
from over_cases import case_options, cases, save, threads_of
from timing import interleave, make_pairs, prepare
from torch import Tensor
from verify import WrongFormError

import effebm_ext as eff

RADIUS = 0.1
SIGMAS = (0.0, 0.3)
SHAPES = {"cpu": "128x64,256x3072,1024x784", "cuda": "2048x3072,16384x784"}

# The two batches (2, n, d) and, with noise, its inner product with v (n,).
Form = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def forms(sigma: float, case: Case) -> dict[str, Form]:
    """Ours, and what a careful user would write."""
    keys = (eff.Key(0, i) for i in itertools.count())
    pair = case.empty(2, case.rows, case.dim)
    v, noise = case.empty(case.rows, case.dim), case.empty(case.rows, case.dim)

    def ours(x: Tensor) -> tuple[Tensor, Tensor | None]:
        found = eff.perturbed_pair(x, RADIUS, noise_std=sigma, rng=next(keys))
        return found.x, found.noise_dot if sigma else None

    def cat(x: Tensor) -> tuple[Tensor, Tensor | None]:
        v = torch.randn_like(x)
        v *= RADIUS / v.norm(dim=1, keepdim=True)
        if not sigma:
            return torch.stack([x + v, x - v]), None
        noise = sigma * torch.randn_like(x)
        y = x + noise
        return torch.stack([y + v, y - v]), (v * noise).sum(1)

    def buffers(x: Tensor) -> tuple[Tensor, Tensor | None]:
        v.normal_()
        v.mul_(RADIUS / torch.linalg.vector_norm(v, dim=1, keepdim=True))
        if not sigma:
            torch.add(x, v, out=pair[0])
            torch.sub(x, v, out=pair[1])
            return pair, None
        noise.normal_()
        dot = torch.einsum("nd,nd->n", v, noise).mul_(sigma)
        torch.add(x, noise, alpha=sigma, out=noise)
        torch.add(noise, v, out=pair[0])
        torch.sub(noise, v, out=pair[1])
        return pair, dot

    return {"ours": ours, "new tensors": cat, "buffers": buffers}


def verify(name: str, form: Form, x: Tensor, sigma: float) -> None:
    """Lengths, midpoints and inner products are those that are asked for.

    Raises:
        WrongFormError: they are not.
    """
    pair, dot = form(x)
    plus, minus = pair.double()
    v, noise = (plus - minus) / 2, (plus + minus) / 2 - x.double()
    right = bool(((v.norm(dim=1) - RADIUS).abs() < 1e-4 * RADIUS).all())
    spread = float(noise.square().mean().sqrt())
    right = right and abs(spread - sigma) < 1e-6 + sigma * 5 / x.numel() ** 0.5
    if dot is not None:
        right = right and torch.allclose(dot.double(), (v * noise).sum(1), atol=1e-4)
    if not right:
        raise WrongFormError(f"{name} at {tuple(x.shape)} perturbs otherwise than asked for")


def measure(case: Case, sigma: float, *, seconds: float, compile: bool) -> dict[str, Any]:
    """Times all forms in turn."""
    if case.device == "cpu":
        torch.set_num_threads(case.threads)
    pairs = make_pairs(case)
    turn = itertools.cycle(pairs)
    found = forms(sigma, case)
    if compile:
        found["compile"] = torch.compile(found["new tensors"], dynamic=False)
    for name, form in found.items():
        verify(name, form, pairs[0][0], sigma)
    arms = [
        Arm(name, "ours" if name == "ours" else "pytorch", _build(form), case.elements)
        for name, form in found.items()
    ]
    if case.device == "cpu":
        # Normals alone: one for v, one more for the noise.
        floor = noise_floor(dataclasses.replace(case, rows=case.rows * (2 if sigma else 1)))
        arms.append(dataclasses.replace(floor, elements=case.elements))
    timed = interleave(
        [prepare(arm, turn, case.device) for arm in arms], turn, seconds, case.device
    )
    best = min((a["ns_per_element"], n) for n, a in timed.items() if a["group"] == "pytorch")
    return {
        "shape": case.shape, "sigma": sigma, "threads": case.threads, "arms": timed,
        "best_pytorch": best[1], "speed_up": best[0] / timed["ours"]["ns_per_element"],
    }  # fmt: skip


def _build(form: Form) -> Callable[[bool], Callable[[Tensor, Tensor], None]]:
    def step(x: Tensor, _g: Tensor) -> None:
        form(x)

    return lambda _noisy: step


def line(result: dict[str, Any]) -> str:
    times = ", ".join(f"{n} {a['ns_per_element']:.2f}" for n, a in result["arms"].items())
    return (
        f"{result['shape']:>12} sigma {result['sigma']:g} threads {result['threads']}: "
        f"{result['speed_up']:.1f} x {result['best_pytorch']}; ns per element of x: {times}"
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@case_options
@click.option("--compile/--no-compile", default=True, help="time torch.compile as well")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="for perturb.json")
def main(
    shapes: list[tuple[int, int]],
    device: str,
    threads: list[int],
    seconds: float,
    compile: bool,
    out: Path | None,
) -> None:
    """Time the perturbed pair against the best that PyTorch offers, in one run."""
    results = []
    with threads_of(), torch.no_grad():
        for case, sigma in itertools.product(cases(device, threads, shapes, SHAPES), SIGMAS):
            results.append(measure(case, sigma, seconds=seconds, compile=compile))
            click.echo(line(results[-1]))
    save(out, "perturb", device, {"results": results})


if __name__ == "__main__":
    main()

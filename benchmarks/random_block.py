"""Times Langevin steps that move a block of entries of every chain, against plain PyTorch.

    python benchmarks/random_block.py
    python benchmarks/random_block.py --ratio 0.1 --out runs/random_block

Plain PyTorch has two ways: a block for every chain, which is gathered and scattered, or one block
for all chains, which is a view. The latter is another sampler, as all chains then move the same
entries; it is timed since it is what a user might write. ``all entries`` is our step without a
block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from arms import Arm, Case
from forms import HALF_STEP, STEP_SIZE
from over_cases import case_options, cases, save, threads_of
from timing import interleave, make_pairs, prepare
from torch import Tensor
from verify import WrongFormError

import effebm_ext as eff

SHAPES = {"cpu": "128x784,256x3072,64x12288", "cuda": "16384x784,16384x3072"}
Form = Callable[[Tensor, Tensor, float], object]  # of a state, a gradient and the noise


def forms(k: int, case: Case) -> dict[str, Form]:
    """Ours, and what a careful user would write."""
    keys = (eff.Key(0, i) for i in itertools.count())
    compressor, entries = eff.RandomBlock(k), torch.arange(k, device=case.device)
    noise = case.empty(case.rows, k)

    def ours(x: Tensor, g: Tensor, noise_std: float) -> None:
        options = {"compressor": compressor, "noise_std": noise_std}
        eff.langevin_step_(x, g, STEP_SIZE, rng=next(keys), **options)

    def scattered(x: Tensor, g: Tensor, noise_std: float) -> None:
        start = torch.randint(case.dim, (case.rows, 1), device=case.device)
        index = (start + entries).remainder_(case.dim)
        kept = g.gather(1, index).mul_(-HALF_STEP).add_(noise.normal_(), alpha=noise_std)
        x.scatter_add_(1, index, kept)

    def one_for_all(x: Tensor, g: Tensor, noise_std: float) -> None:
        start = int(torch.randint(case.dim, ()))
        first = min(k, case.dim - start)
        for begin, n in ((start, first), (0, k - first)):
            block = x[:, begin : begin + n]
            block.add_(g[:, begin : begin + n], alpha=-HALF_STEP)
            block.add_(noise[:, :n].normal_(), alpha=noise_std)

    return {"ours": ours, "a block each": scattered, "one block for all": one_for_all}


def verify(name: str, form: Form, x: Tensor, g: Tensor, k: int) -> None:
    """Moves k neighbours of every row, by the drift and by noise of the size asked for.

    Raises:
        WrongFormError: it does not.
    """
    moved, noisy = x.clone(), x.clone()
    form(moved, g, 0.0)
    form(noisy, g, 1.0)
    drift = torch.where(moved != x, HALF_STEP * g.abs(), 0)
    right = torch.allclose((moved - x).abs(), drift, atol=1e-5)
    right = right and bool(((noisy != x).sum(1) == k).all())
    spread = float((noisy - x)[noisy != x].std())
    if not right or abs(spread / math.hypot(1, HALF_STEP) - 1) > 8 / (len(x) * k) ** 0.5:
        raise WrongFormError(f"{name} at {tuple(x.shape)} moves otherwise than asked for")


def measure(case: Case, ratio: float, *, seconds: float) -> dict[str, Any]:
    """Times all forms in turn."""
    if case.device == "cpu":
        torch.set_num_threads(case.threads)
    pairs = make_pairs(case)
    turn, k = itertools.cycle(pairs), eff.RandomBlock(ratio=ratio).entries(case.dim)
    found = forms(k, case)
    for name, form in found.items():
        verify(name, form, *pairs[0], k)
    keys = (eff.Key(1, i) for i in itertools.count())
    found["all entries"] = lambda x, g, _: eff.langevin_step_(x, g, STEP_SIZE, rng=next(keys))
    arms = [
        Arm(
            name, "ours" if name in ("ours", "all entries") else "pytorch", _build(f), case.elements
        )
        for name, f in found.items()
    ]
    timed = interleave(
        [prepare(arm, turn, case.device) for arm in arms], turn, seconds, case.device
    )
    ours = timed["ours"]["ns_per_element"]
    ratios = {n: a["ns_per_element"] / ours for n, a in timed.items() if n != "ours"}
    return {
        "shape": case.shape, "ratio": ratio, "threads": case.threads, "arms": timed,
        "speed_ups": ratios,
    }  # fmt: skip


def _build(form: Form) -> Callable[[bool], Callable[[Tensor, Tensor], None]]:
    def build(noisy: bool) -> Callable[[Tensor, Tensor], None]:
        noise_std = noisy * math.sqrt(STEP_SIZE)

        def step(x: Tensor, g: Tensor) -> None:
            form(x, g, noise_std)

        return step

    return build


def line(result: dict[str, Any]) -> str:
    ratios = ", ".join(f"{ratio:.1f} x {name}" for name, ratio in result["speed_ups"].items())
    return f"{result['shape']:>12} {result['ratio']:g} threads {result['threads']}: {ratios}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@case_options
@click.option("--ratio", default=0.1, help="share of the entries that move")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="for random_block.json")  # fmt: skip
def main(
    shapes: list[tuple[int, int]],
    ratio: float,
    device: str,
    threads: list[int],
    seconds: float,
    out: Path | None,
) -> None:
    """Time steps of random blocks against the best that PyTorch offers, in one run."""
    results = []
    with threads_of():
        for case in cases(device, threads, shapes, SHAPES):
            results.append(measure(case, ratio, seconds=seconds))
            click.echo(line(results[-1]))
    save(out, "random_block", device, {"results": results})


if __name__ == "__main__":
    main()

"""Times samplers of other libraries, and loops written by hand, beside what takes their place here.

    pip install 'effebm_ext[peers]'
    python benchmarks/drop_in.py --out runs/drop-in

A gradient that is given costs nothing, so that the step is what is timed; the examples are also
timed with their networks. Both sides of a case take turns, a call of 10 steps each, on one thread.
The ratio is that of the medians of their times. These are times of the processor, so that they do
not count what other work on the machine takes.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import options
import torch
from over_cases import save, threads_of
from peers import installed
from torch import Tensor, nn

import effebm_ext as eff

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import functional
import igebm
import jem
import originals

STEPS = 10  # of a call
STEP_SIZE = 0.01  # h
Work = Callable[[], object]


class _Given(torch.autograd.Function):
    """Energies of zero whose gradient is given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient = gradient
        return x.new_zeros(len(x))

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.gradient, None


def with_gradient(gradient: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: _Given.apply(x, gradient)


def torchebm_pair(x: Tensor, gradient: Tensor) -> tuple[Work, Work]:
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics as Theirs

    from effebm_ext.integrations.torchebm import LangevinDynamics as Ours

    class Model(BaseModel):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(len(x))

        def gradient(self, x: Tensor, model_kwargs: object = None) -> Tensor:
            return gradient

    theirs, ours = (kind(Model(), step_size=STEP_SIZE) for kind in (Theirs, Ours))
    return lambda: theirs.sample(x, n_steps=STEPS), lambda: ours.sample(x, n_steps=STEPS)


def ebmkit_pair(x: Tensor, gradient: Tensor) -> tuple[Work, Work]:
    from ebm.samplers import LangevinDynamics as Theirs

    from effebm_ext.integrations.ebmkit import LangevinDynamics as Ours

    energy = with_gradient(gradient)
    theirs, ours = (kind(STEP_SIZE, STEPS) for kind in (Theirs, Ours))
    return lambda: theirs.sample(energy, x), lambda: ours.sample(energy, x)


def igebm_pair(x: Tensor, energy: Callable[[Tensor], Tensor]) -> tuple[Work, Work]:
    return (
        lambda: originals.igebm_chains(x, energy, STEPS, **igebm.SETTING),
        lambda: igebm.move_chains(x, energy, STEPS, **igebm.SETTING),
    )


def jem_pair(x: Tensor, classifier: Callable[[Tensor], Tensor]) -> tuple[Work, Work]:
    return (
        lambda: originals.jem_chains(x, classifier, STEPS, **jem.SETTING),
        lambda: jem.move_chains(x, classifier, STEPS, **jem.SETTING),
    )


def functional_pair(x: Tensor, energy: Callable[[Tensor], Tensor]) -> tuple[Work, Work]:
    original, kernel = (of.langevin(energy, STEP_SIZE) for of in (originals, functional))
    generator, start = torch.Generator().manual_seed(0), kernel.init(x)

    def by_hand() -> None:
        state = start
        for _ in range(STEPS):
            state = original.step(generator, state)

    return by_hand, lambda: functional.run(kernel, eff.Key(0), start, STEPS)


def frozen(network: nn.Module, x: Tensor) -> nn.Module:
    network(x)  # finds the sizes of its layers
    return network.requires_grad_(False)


def pairs(rows: int, dim: int) -> dict[str, tuple[Work, Work]]:
    """Returns what is timed by name: the original, and what takes its place."""
    torch.manual_seed(0)
    x, gradient = torch.randn(rows, dim), torch.randn(rows, dim)
    given = with_gradient(gradient)
    found = {}
    if installed("torchebm"):
        found["torchebm, gradient given"] = torchebm_pair(x, gradient)
    if installed("ebm"):
        found["ebmkit, gradient given"] = ebmkit_pair(x, gradient)
    found["igebm, gradient given"] = igebm_pair(x, given)
    found["jem, gradient given"] = jem_pair(x, lambda x: given(x)[:, None])
    found["functional, gradient given"] = functional_pair(x, given)

    images, flat = torch.rand(32, 1, igebm.SIZE, igebm.SIZE), torch.randn(64, jem.SIZE**2)
    found["igebm, its network"] = igebm_pair(images, frozen(igebm.network(), images))
    found["jem, its network"] = jem_pair(flat, frozen(jem.network(), flat))
    for dim in (functional.DIM, 2):  # and rows that are too short for the fused step to be faster
        points, energy = torch.randn(100_000 // dim, dim), functional.gaussian(dim)[1]
        found[f"functional, Gaussian of {dim}"] = functional_pair(points, energy)
    return found


def measure(original: Work, ours: Work, rounds: int) -> dict[str, float]:
    """Times both in turn; milliseconds per step, and ratios of the original's to ours."""
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for work, times in zip((original, ours), seconds, strict=True):
            start = time.process_time()
            work()
            times.append((time.process_time() - start) / STEPS)
    theirs, here = ([t * 1e3 for t in times[1:]] for times in seconds)
    medians = statistics.median(theirs), statistics.median(here)
    return {
        "original_ms": medians[0],
        "ours_ms": medians[1],
        "ratio": medians[0] / medians[1],
        "ratio_of_quickest": min(theirs) / min(here),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--shape", default=options.HEADLINE, help="ROWSxDIM where the gradient is given")
@click.option("--rounds", default=50, help="of calls of both sides")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="for drop_in.json")
def main(shape: str, rounds: int, out: Path | None) -> None:
    """Time other samplers and loops in units of what takes their place, on one thread."""
    ((rows, dim),) = options.parse_shapes(shape)
    results: dict[str, dict[str, float]] = {}
    with threads_of(1):
        for name, (original, ours) in pairs(rows, dim).items():
            found = results[name] = measure(original, ours, rounds)
            click.echo(
                f"{name:<28} {found['ratio']:6.2f} x ({found['original_ms']:.3f} ms, ours "
                f"{found['ours_ms']:.3f}); quickest calls {found['ratio_of_quickest']:.2f} x"
            )
    save(out, "drop_in", "cpu", {"shape": shape, "results": results})


if __name__ == "__main__":
    main()

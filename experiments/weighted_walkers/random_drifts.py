"""Which random drifts leave adjusted chains and weights exact, and which do not.

    python -m experiments.weighted_walkers.random_drifts --quick
    python -m experiments.weighted_walkers.random_drifts --out runs/random_drifts

Adjusted chains start from the law N(0, diag(1/4, 1, 4)) and should stay there. Walkers with weights
follow a path from N(0, I) to an energy with quartic terms whose log Z quadrature gives. The theorem
that the figures illustrate is in docs/sampling.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.ops.compressor import Compressor
from effebm_ext.samplers.cached import CachedState
from effebm_ext.samplers.proposal import Proposal
from experiments.common.over_seeds import aligned
from experiments.common.records import Row, environment, plain

VARIANCES = torch.tensor([0.25, 1.0, 4.0])
TILTS = torch.tensor([0.5, -1.0, 2.0])
STEP_SIZE, LOOKS, APART = 0.8, 40, 5
KEY = eff.Key(7)
# Step size, number of steps and the end of the path for walkers of each sampler: weights of
# unadjusted steps become uneven with every step.
PATHS = {"weights": (eff.Langevin, 0.02, 10, 0.5), "MALA + weights": (eff.MALA, 0.3, 25, 1.0)}


def dithered(g: Tensor) -> Tensor:
    """QSGD of one level (Alistarh et al., arXiv 1610.02132): every entry becomes 0 or, up to its
    sign, the norm of its row, with the same mean."""
    norm = g.norm(dim=1, keepdim=True)
    return torch.where(torch.rand_like(g) * norm < g.abs(), norm * g.sign(), 0)


class MasksInTurn:
    """Keeps entry i, times d, at call i modulo d."""

    calls = 0

    def __call__(self, g: Tensor) -> Tensor:
        self.calls += 1
        mask = torch.zeros_like(g)
        mask[:, self.calls % g.shape[1]] = g.shape[1]
        return g * mask


class NoiseOfTheSteps:
    """Adds numbers to the gradient that the step to the new state has drawn."""

    calls = -1  # the first call is that of init

    def __call__(self, g: Tensor) -> Tensor:
        z = torch.zeros_like(g)
        if self.calls >= 0:
            eff.langevin_step_(z, torch.zeros_like(g), 1.0, rng=KEY.at(self.calls))
        self.calls += 1
        return g + 2 * z


class Redrawn(eff.MALA):
    """Goes on along another drift than that of the ratio: wrong."""

    def propose(self, state: CachedState) -> Proposal:
        found = super().propose(state)
        _, gradient = self.gradient(found.x, state.energy_kwargs)
        drift = eff.drift(
            gradient, compressor=self.compressor, rng=state.key.at(2**50 + state.step)
        )
        return found._replace(drift=drift.drift)


# Makes the drift of a row of the tables, anew for each.
EXACT: dict[str, Callable[[], Compressor | None]] = {
    "full": lambda: None,
    "Random-k 1 of 3": lambda: eff.RandomK(1),
    "biased Random-k 1 of 3": lambda: eff.RandomK(1, unbiased=False),
    "natural": eff.NaturalCompression,
    "dithered": lambda: dithered,
}
WRONG: dict[str, tuple[type[eff.MALA], Callable[[], Compressor]]] = {
    "Random-k, redrawn after the ratio": (Redrawn, lambda: eff.RandomK(1)),
    "natural, redrawn after the ratio": (Redrawn, eff.NaturalCompression),
    "masks in turn": (eff.MALA, MasksInTurn),
    "numbers of the noise": (eff.MALA, NoiseOfTheSteps),
}


def gaussian(x: Tensor) -> Tensor:
    return (x.square() / VARIANCES).sum(1) / 2


def quartic(x: Tensor, share: float) -> Tensor:
    """The energy of N(0, I), up to a constant, for a share of 0."""
    quartic = x**4 / 4 - TILTS.to(x) * x
    return ((1 - share) * x.square() / 2 + share * quartic).sum(1)


def log_z(share: float) -> float:
    """Of :func:`quartic`, by quadrature in each entry."""
    grid = torch.arange(-8, 8, 0.001, dtype=torch.float64)[:, None]
    densities = (-(1 - share) * grid**2 / 2 - share * (grid**4 / 4 - TILTS * grid)).exp()
    return float((densities.sum(0) * 0.001).log().sum())


def law_of(name: str, kind: type[eff.MALA], compressor: Compressor | None, chains: int) -> Row:
    """Variances over those of the law, and fourth moments, which are 3 of its squares."""
    torch.manual_seed(0)  # functions draw from torch's own generator
    sampler = kind(gaussian, step_size=STEP_SIZE, compressor=compressor)
    state = sampler.init(torch.randn(chains, 3) * VARIANCES.sqrt(), rng=KEY)
    acceptance = sampler.advance_(state, LOOKS * APART // 2).acceptance
    assert acceptance is not None
    squares = torch.zeros(chains, 3, dtype=torch.float64)
    fourths = squares.clone()
    for _ in range(LOOKS):
        sampler.advance_(state, APART)
        z = state.x.double().square() / VARIANCES
        squares += z / LOOKS
        fourths += z.square() / (3 * LOOKS)
    return {
        "drift": name, "acceptance": acceptance.mean(),
        "variance": (squares.mean(0), squares.std(0) / chains**0.5),
        "fourth": (fourths.mean(0), fourths.std(0) / chains**0.5),
    }  # fmt: skip


def log_z_of(name: str, how: str, compressor: Compressor | None, walkers: int) -> Row:
    """The error of log Z from walkers that have followed the path, and their effective share."""
    torch.manual_seed(0)
    kind, step_size, steps, end = PATHS[how]
    share = [0.0]
    sampler = kind(lambda x: quartic(x, share[0]), step_size=step_size, compressor=compressor)
    x0 = torch.randn(walkers, 3)
    log_density = -quartic(x0, 0.0).double() - 1.5 * math.log(2 * math.pi)
    chains = WeightedWalkers(sampler, x0, log_density, rng=KEY, resample_threshold=0.0)
    for step in range(1, steps + 1):
        share[0] = end * step / steps
        chains.advance(1)
    weights = (chains.log_weights - log_z(end)).exp()
    mean = weights.mean()
    return {
        "drift": name, "how": how, "error": (mean.log(), weights.std() / mean / walkers**0.5),
        "ess": chains.ess / walkers,
    }  # fmt: skip


def tables(laws: list[Row], log_zs: list[Row]) -> str:
    def pairs(value: tuple[list[float], list[float]]) -> list[str]:
        return [f"{v:.3f} ± {e:.3f}" for v, e in zip(*value, strict=True)]

    rows = [["adjusted", "acceptance", *(f"variance {i}" for i in range(3)), "largest 4th, z"]]
    for row in laws:
        z = max((abs(v - 1) / e for v, e in zip(*row["fourth"], strict=True)), default=0.0)
        rows.append([row["drift"], f"{row['acceptance']:.2f}", *pairs(row["variance"]), f"{z:.1f}"])
    others = [["drift", "how", "log Z error", "ESS/N"]]
    for row in log_zs:
        value, error = row["error"]
        others.append(
            [row["drift"], row["how"], f"{value:+.4f} ± {error:.4f}", f"{row['ess']:.2f}"]
        )
    return f"{aligned(rows)}\n\n{aligned(others)}"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="few chains, in seconds")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder for results.json")  # fmt: skip
def main(quick: bool, out: Path | None) -> None:
    """Measure the laws and log Z of chains along random drifts."""
    chains, walkers = (1000, 5000) if quick else (20_000, 200_000)
    arms = [(name, eff.MALA, make) for name, make in EXACT.items()]
    arms += [(name, kind, make) for name, (kind, make) in WRONG.items()]
    laws = [plain(law_of(name, kind, make(), chains)) for name, kind, make in arms]
    log_zs = [
        plain(log_z_of(name, how, make(), walkers)) for how in PATHS for name, make in EXACT.items()
    ]
    others = ("masks in turn", "numbers of the noise")
    log_zs += [plain(log_z_of(name, "weights", WRONG[name][1](), walkers)) for name in others]
    click.echo(tables(laws, log_zs))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report = {
            "environment": environment(), "settings": {"chains": chains, "walkers": walkers},
            "laws": laws, "log_z": log_zs,
        }  # fmt: skip
        (out / "results.json").write_text(json.dumps(report, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()

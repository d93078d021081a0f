"""What exactness costs: how far Metropolis-adjusted steps move along compressed gradients, how
uneven weights become, and in how little memory walkers are kept.

    python -m experiments.weighted_walkers.mala_mixing --quick
    python -m experiments.weighted_walkers.mala_mixing --out runs/mala_mixing

The target is N(0, I). A chain in equilibrium makes the expected squared jump E[a(x, x') |x' - x|^2]
/ d per dimension, a the probability of acceptance: the mean over independent x, with its standard
error and without a chain. The step size is the best of a grid, or the one at which 57.4 % of the
steps are accepted; it is found on other samples than those that the figure is of. Without any
gradient the step is that of random-walk Metropolis. Chains with the best step size also tell how
many effective samples a gradient gives, from the autocorrelation of their first entries.

Walkers with weights follow the target while its precision goes from 1 to 2, by unadjusted steps and
without resampling: log Z is known. A random block makes as many steps more as it has fewer entries.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import click
import torch
from matplotlib.figure import Figure
from torch import Tensor

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.evaluation import integrated_autocorrelation_time
from effebm_ext.ops.compressor import FusedCompressor
from experiments.common.records import Row, environment, plain
from experiments.compression_bias.chains import Estimate, mean

Compressor = FusedCompressor | Callable[[Tensor], Tensor] | None

DRIFTS: dict[str, Compressor] = {
    "full": None,
    "Top-k 10 %": eff.TopK(ratio=0.1),
    "Block-Sign 64": eff.BlockSign(64),
    "Random-k 10 %": eff.RandomK(ratio=0.1),
    "biased Random-k 10 %": eff.RandomK(ratio=0.1, unbiased=False),
    "random block 10 %": eff.RandomBlock(ratio=0.1),
    "no gradient": torch.zeros_like,
}
ACCEPTANCE = 0.574  # best for the full gradient in high dimension: Roberts and Rosenthal (1998)
STEP_SIZES = [2.0 ** (i / 2) for i in range(2, -25, -1)]
GiB = 2**30
PATH_STEPS, PATH_STEP_SIZE, PATH_DIM = 200, 0.05, 100
ENTRIES = 16  # whose autocorrelation is found


def energy(x: Tensor) -> Tensor:
    return x.square().sum(1) / 2


def jump(compressor: Compressor, step_size: float, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Squared jump per dimension, and probability of acceptance, ``(n,)`` each."""
    sampler = eff.MALA(energy, step_size=step_size, compressor=compressor)
    state = sampler.init(x, rng=eff.Key(seed))
    proposal = sampler.propose(state)
    acceptance = proposal.log_ratio.clamp(max=0).exp()
    return acceptance * (proposal.x - x).double().square().mean(1), acceptance


def samples(chains: int, dim: int, seed: int) -> Tensor:
    return torch.randn(chains, dim, generator=torch.Generator().manual_seed(seed))


def best_jump(name: str, dim: int, chains: int) -> Row:
    """Of the step size at which the jump is largest."""
    x = samples(chains, dim, 0)[:1000]
    best = max(STEP_SIZES, key=lambda s: float(jump(DRIFTS[name], s, x, 0)[0].mean()))
    return measured(name, dim, chains, best)


def accepted_jump(name: str, dim: int, chains: int) -> Row:
    """Of the step size with the acceptance :data:`ACCEPTANCE`, found by bisection."""
    x = samples(chains, dim, 0)[:1000]
    low, high = math.log(STEP_SIZES[-1]), math.log(4.0)
    for _ in range(20):
        middle = (low + high) / 2
        acceptance = jump(DRIFTS[name], math.exp(middle), x, 0)[1].mean()
        low, high = (middle, high) if acceptance > ACCEPTANCE else (low, middle)
    return measured(name, dim, chains, math.exp(low))


def measured(name: str, dim: int, chains: int, step_size: float) -> Row:
    """Jump and acceptance, on samples that no step size was chosen by."""
    squares, acceptance = jump(DRIFTS[name], step_size, samples(chains, dim, 1), 1)
    return {
        "drift": name, "dim": dim, "step_size": step_size, "jump": mean(squares),
        "acceptance": mean(acceptance),
    }  # fmt: skip


def effective_samples(row: Row, chains: int, steps: int) -> Row:
    """Per thousand gradients, at the step size of a row of :func:`best_jump`."""
    name, dim = row["drift"], row["dim"]
    sampler = eff.MALA(energy, step_size=row["step_size"], compressor=DRIFTS[name])
    state = sampler.init(samples(chains, dim, 2), rng=eff.Key(2))
    seen = torch.empty(steps, chains, min(dim, ENTRIES))
    for at in seen:
        sampler.advance_(state)
        at.copy_(state.x[:, : at.shape[1]])
    times = integrated_autocorrelation_time(seen, chain_axis=1)
    return {"drift": name, "dim": dim, "per_1000": float((1000 / times).mean())}


def weights(name: str, walkers: int) -> Row:
    """The error of log Z at the end of the path, and the effective share of the walkers."""
    compressor, precision = DRIFTS[name], [1.0]
    sampler = eff.Langevin(
        lambda x: precision[0] * energy(x), step_size=PATH_STEP_SIZE, compressor=compressor
    )
    x0 = samples(walkers, PATH_DIM, 3).double()
    log_density = -energy(x0) - PATH_DIM / 2 * math.log(2 * math.pi)
    chains = WeightedWalkers(sampler, x0, log_density, rng=eff.Key(3), resample_threshold=0.0)
    moves = 10 if isinstance(compressor, eff.RandomBlock) else 1
    for step in range(1, PATH_STEPS + 1):
        precision[0] = 1 + step / PATH_STEPS
        chains.advance(moves)
    exact = PATH_DIM / 2 * math.log(2 * math.pi / precision[0])
    return {
        "drift": name, "error": chains.log_z - exact, "stated": chains.log_z_error,
        "ess": chains.ess / walkers,
    }  # fmt: skip


def memory(name: str, dim: int) -> Row:
    """Bytes of a walker, counted from tensors as weighted walkers hold them."""
    sampler = eff.MALA(energy, step_size=0.1, compressor=DRIFTS[name])
    x0 = torch.randn(64, dim, generator=torch.Generator().manual_seed(0))
    walkers = WeightedWalkers(sampler, x0, x0.new_zeros(64))
    state = walkers.walkers
    parts = {"x": state.x, "energy": state.energy, "weight": walkers.log_weights}
    others = sum(tensor.nbytes for tensor in parts.values()) / 64
    drift = state.drift.nbytes / 64
    return {
        "drift": name, "dim": dim, "bytes": others + drift, "drift_bytes": drift,
        "walkers_per_gib": math.floor(GiB / (others + drift)),
    }  # fmt: skip


def jump_lines(jumps: list[Row]) -> list[str]:
    lines = [f"{'d':>6}  {'drift':<22}{'squared jump':>20}{'acceptance':>14}{'step size':>12}"]
    for row in jumps:
        value, error = Estimate(*row["jump"])
        lines.append(
            f"{row['dim']:>6}  {row['drift']:<22}{f'{value:.3g} ± {error:.1g}':>20}"
            f"{row['acceptance'][0]:>14.2f}{row['step_size']:>12.3g}"
        )
    return lines


def table(
    jumps: list[Row],
    accepted: list[Row],
    memories: list[Row],
    effective: list[Row],
    weighted: list[Row],
) -> str:
    lines = ["largest jump", *jump_lines(jumps), ""]
    lines += [f"acceptance of {ACCEPTANCE}", *jump_lines(accepted), ""]
    lines.append(f"{'d':>6}  {'drift':<22}{'effective samples per 1000 gradients':>38}")
    lines += [f"{r['dim']:>6}  {r['drift']:<22}{r['per_1000']:>38.2f}" for r in effective]
    lines += ["", f"{'weights along':<24}{'log Z error':>22}{'ESS/N':>10}"]
    for row in weighted:
        stated = "unknown" if row["stated"] is None else f"{row['stated']:.2g}"
        error = f"{row['error']:+.3f} ± {stated}"
        lines.append(f"{row['drift']:<24}{error:>22}{row['ess']:>10.3f}")
    lines.append("")
    lines.append(f"{'d':>6}  {'drift':<22}{'bytes a walker':>16}{'walkers in 1 GiB':>18}")
    lines += [
        f"{row['dim']:>6}  {row['drift']:<22}{row['bytes']:>16.0f}{row['walkers_per_gib']:>18}"
        for row in memories
    ]
    return "\n".join(lines)


def save_picture(path: Path, jumps: list[Row]) -> None:
    """Squared jump against d."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for name in DRIFTS:
        rows = [row for row in jumps if row["drift"] == name]
        axes.loglog([r["dim"] for r in rows], [r["jump"][0] for r in rows], "o-", label=name)
    axes.set_xlabel("d")
    axes.set_ylabel("best squared jump per dimension")
    axes.legend()
    figure.savefig(path, dpi=80)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="short rows and few chains, in seconds")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder for results.json and mala_mixing.png")  # fmt: skip
def main(quick: bool, out: Path | None) -> None:
    """Measure the mixing of exact compressed chains, and the memory of their walkers."""
    dims, chains = ((16, 64), 200) if quick else ((16, 64, 256, 1024, 3072), 4000)
    dims_accepted = (16, 64) if quick else (64, 256, 1024)
    tasks = [(best_jump, name, dim) for dim in dims for name in DRIFTS]
    tasks += [(accepted_jump, name, dim) for dim in dims_accepted for name in DRIFTS]
    found: dict[Callable[[str, int, int], Row], list[Row]] = {best_jump: [], accepted_jump: []}
    with click.progressbar(tasks, item_show_func=lambda t: t and f"{t[1]}, d = {t[2]}") as bar:
        for task, name, dim in bar:
            found[task].append(plain(task(name, dim, chains)))
    jumps, accepted = found.values()
    steps = 40 if quick else 2000
    effective = [effective_samples(row, 8, steps) for row in jumps]
    weighted = [plain(weights(name, 100 if quick else 4000)) for name in DRIFTS]
    memories = [memory(name, dim) for dim in dims for name in DRIFTS if name != "no gradient"]
    click.echo("\n" + table(jumps, accepted, memories, effective, weighted))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report = {
            "environment": environment(), "settings": {"chains": chains, "dims": list(dims)},
            "jumps": jumps, "accepted": accepted, "memory": memories, "effective": effective,
            "weights": weighted,
        }  # fmt: skip
        (out / "results.json").write_text(json.dumps(report, allow_nan=False) + "\n")
        save_picture(out / "mala_mixing.png", jumps)


if __name__ == "__main__":
    main()

"""Peak memory of training with a replay buffer, by the dtype in which its chains rest.

    python benchmarks/buffer_memory.py

Every iteration moves some chains of the buffer, with error feedback, and updates the parameters of
a small energy of pictures. Each arm runs in a process of its own; counted is the resident memory at
its peak, in MB beyond what is there before, after an iteration with a small buffer. ``whole`` is a
float32 buffer of a tensor of starts; all others are filled part by part.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import torch
from memory import resident

import effebm_ext as eff
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.storage import Storage
from effebm_ext.networks import ConvEnergy
from effebm_ext.objectives.contrastive import Contrastive

EVENT, STEPS, ITERATIONS, LIMITS = (3, 32, 32), 2, 3, (-2.5, 2.5)
ARMS = {
    "whole": None,
    "float32": None,
    "bfloat16": Storage(torch.bfloat16),
    "float16": Storage(torch.float16),
    "uint8": Storage(torch.uint8, LIMITS),
}


def train(arm: str, size: int, chains: int, error_feedback: bool) -> None:
    """Makes a buffer and trains for some iterations."""
    torch.manual_seed(0)
    energy = ConvEnergy(EVENT)
    optimizer = torch.optim.Adam(energy.parameters())
    sampler = eff.Langevin(
        energy,
        step_size=0.01,
        compressor=eff.BlockSign(64) if error_feedback else None,
        error_feedback=error_feedback,
    )
    whole = arm == "whole"
    buffer = ReplayBuffer(
        sampler,
        torch.randn(size, *EVENT) if whole else lambda n: torch.randn(n, *EVENT),
        size=None if whole else size,
        n_chains=chains,
        generator=torch.Generator().manual_seed(0),
        storage=ARMS[arm],
    )
    objective = Contrastive(energy, buffer, langevin_steps=STEPS, energy_l2=0.001)
    data = torch.randn(chains, *EVENT)
    for _ in range(ITERATIONS):
        objective.advance()
        optimizer.zero_grad()
        objective.loss(data, {}).value.backward()
        optimizer.step()


def training_peak(arm: str, size: int, chains: int, error_feedback: bool) -> float:
    """Returns the peak in MB, of this process."""
    torch.set_num_threads(1)
    train(arm, chains, chains, error_feedback)  # sets up what libraries keep
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    train(arm, size, chains, error_feedback)
    return (resident("VmHWM") - before) / 1e6


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--size", default=10_000, help="chains in the buffer")
@click.option("--chains", default=64, help="chains that move at a time")
@click.option("--error-feedback/--no-error-feedback", default=True, help="whether chains have it")
@click.option("--out", type=click.Path(path_type=Path), help="a JSON file to write")
@click.option("--arm", hidden=True, help="measure this one, in this process")
def main(size: int, chains: int, error_feedback: bool, out: Path | None, arm: str | None) -> None:
    """Peak memory of training with a replay buffer of 3 x 32 x 32, in MB beyond a small one."""
    if arm is not None:
        click.echo(training_peak(arm, size, chains, error_feedback))
        return
    peaks: dict[str, float] = {}
    feedback = "--error-feedback" if error_feedback else "--no-error-feedback"
    shape = ["--size", str(size), "--chains", str(chains), feedback]
    for name in ARMS:
        command = [sys.executable, __file__, *shape, "--arm", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[name] = float(done.stdout)
        click.echo(f"{name:10} {peaks[name]:7.0f} MB  {peaks[name] / peaks['whole']:.2f} of whole")
    if out is not None:
        content = {
            "size": size,
            "chains": chains,
            "error_feedback": error_feedback,
            "torch": torch.__version__,
            "peak_mb": {name: round(peak, 1) for name, peak in peaks.items()},
        }
        out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

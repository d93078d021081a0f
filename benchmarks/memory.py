"""Peak memory of a training step, ours against the forms in plain PyTorch.

    python benchmarks/memory.py

A step moves all chains once, with a gradient by autograd, and updates the parameters of a small
energy. Each arm runs in a process of its own; counted is the resident memory at its peak, in states
(the bytes of all chains), beyond what is there before: chains, energy and optimiser.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import torch
from arms import OPS, Case
from forms import STEP_SIZE, moves
from torch import Tensor

import effebm_ext as eff
from effebm_ext.energies import energy_and_gradient
from effebm_ext.networks import MLPEnergy

_STEPS = 3


def stepper(case: Case, arm: str, x: Tensor) -> Callable[[Tensor], None]:
    """Moves x along a gradient; what it needs besides is made here or at its first call."""
    if arm == "ours":
        key, count = eff.Key(0), iter(range(_STEPS))
        return lambda g: eff.langevin_step_(
            x, g, STEP_SIZE, compressor=case.compressor, rng=key.at(next(count))
        )
    # Buffers that are kept save time, not memory: forms here allocate what they need as they go.
    move = moves(case.compressor, case.dim, dict)[arm]
    noise = torch.empty_like(x)

    def step(g: Tensor) -> None:
        move(x, g)
        x.add_(noise.normal_(), alpha=STEP_SIZE**0.5)

    return step


def training_peak(case: Case, arm: str) -> float:
    """In states, of this process."""
    torch.set_num_threads(1)
    x = torch.randn(case.rows, case.dim)
    energy = MLPEnergy((case.dim,), width=16, depth=1)
    optimizer = torch.optim.Adam(energy.parameters())
    energy_and_gradient(energy, x[:8])  # what libraries set up at their first call
    stepper(Case(case.op, 8, case.dim), arm, x[:8])(x[8:16])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    step = stepper(case, arm, x)
    for _ in range(_STEPS):
        step(energy_and_gradient(energy, x)[1])
        optimizer.zero_grad()
        (energy(x[:128]).mean() - energy(x[128:256]).mean()).backward()
        optimizer.step()
    return (resident("VmHWM") - before) / x.nbytes


def resident(what: str) -> int:
    """Bytes, from the kernel's account of this process."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rows", default=4096, show_default=True, help="chains")
@click.option("--dim", default=3072, show_default=True, help="elements of a chain")
@click.option("--ops", default=",".join(op for op in OPS if op != "topk:0.5"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="a JSON file to write")
@click.option("--arm", hidden=True, help="measure this one, in this process")
def main(rows: int, dim: int, ops: str, out: Path | None, arm: str | None) -> None:
    """Peak memory of a training step, in states beyond the chains themselves."""
    if arm is not None:
        click.echo(training_peak(Case(ops, rows, dim), arm))
        return
    peaks: dict[str, dict[str, float]] = {}
    for op in ops.split(","):
        case = Case(op, rows, dim)
        shape = ["--rows", str(rows), "--dim", str(dim)]
        peaks[op] = {}
        for name in ("ours", *moves(case.compressor, dim, dict)):
            command = [sys.executable, __file__, *shape, "--ops", op, "--arm", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            peaks[op][name] = round(float(done.stdout), 2)
        row = ", ".join(f"{name} {peak:.2f}" for name, peak in peaks[op].items())
        click.echo(f"{op:16} {row}")
    if out is not None:
        content = {"rows": rows, "dim": dim, "torch": torch.__version__, "states": peaks}
        out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()

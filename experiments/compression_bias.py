"""What compression does to the law of a chain and to what is learned from it.

    python experiments/compression_bias.py --quick
    python experiments/compression_bias.py --out runs/compression_bias

What is expected is in ``closed_forms.py``, how chains are run and looked at in ``chains.py``, the
studies in ``entries.py`` and ``gaussians.py``. Findings: docs/compression_bias.md.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pictures
import scipy
import tables
import torch
from chains import Row
from entries import entry_law, skewed
from gaussians import ill_conditioned, learned_precision
from scales import (
    QUICK,
    Scale,
    delayed_settings,
    few_settings,
    hard_settings,
    isotropic_settings,
    learned_settings,
)

import effebm_ext as eff

Task = tuple[str, Callable[[], Row]]


def tasks(scale: Scale) -> Iterator[Task]:
    """Every chain that is run, under the name of its study."""
    for setting in isotropic_settings(scale):
        yield "entries", lambda s=setting: entry_law(s, scale)
    for dim in scale.dims:
        for setting in few_settings(eff.TopK(ratio=0.1)):
            yield "lengths", lambda s=setting, d=dim: entry_law(s, scale, d)
    for setting in delayed_settings(scale):
        yield "delays", lambda s=setting: entry_law(s, scale)
    for setting in few_settings(*map(eff.TopK, scale.skewed_k), eff.BlockSign(scale.dim)):
        yield "skewed", lambda s=setting: skewed(s, scale)
    for setting, rotated in hard_settings(scale):
        yield "ill_conditioned", lambda s=setting, r=rotated: ill_conditioned(s, r, scale)
    for setting in learned_settings(scale):
        yield "learned", lambda s=setting: learned_precision(s, scale)


def plain(value: Any) -> Any:
    """As JSON has it, to six digits; None for what is not finite."""
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return plain(value.tolist())
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def environment() -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "effebm_ext": eff.__version__,
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="a few small chains, in seconds")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder for results.json, densities.png and bias.png")  # fmt: skip
def main(quick: bool, out: Path | None) -> None:
    """Measure the bias of compressed chains against closed forms."""
    scale = QUICK if quick else Scale()
    started = time.monotonic()
    found: dict[str, list[Row]] = {}
    with click.progressbar(list(tasks(scale)), item_show_func=lambda t: t and t[0]) as bar:
        for study, run in bar:
            found.setdefault(study, []).append(plain(run()))
    report = {
        "environment": environment() | {"seconds": round(time.monotonic() - started)},
        "settings": plain(dataclasses.asdict(scale) | {"learned": str(scale.learned)}),
        "results": found,
    }
    click.echo("\n" + tables.everything(found))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(report, allow_nan=False) + "\n")
        pictures.save_densities(out / "densities.png", found["entries"])
        pictures.save_bias(out / "bias.png", found["entries"], found["delays"])


if __name__ == "__main__":
    main()

"""What compression does to the law of a chain and to what is learned from it.

    python -m experiments.compression_bias --quick
    python -m experiments.compression_bias --out runs/compression_bias

What is expected is in ``effebm_ext.bias`` and ``closed_forms.py``, how chains are run and looked at
in ``chains.py``, the studies in ``entries.py``, ``gaussians.py``, ``corrected.py`` and
``alarms.py``. Findings are in docs/compression_bias.md, those of ``alarms.py`` in
docs/evaluation.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click

import effebm_ext as eff
from experiments.common.records import Row, environment, plain
from experiments.compression_bias import pictures, tables
from experiments.compression_bias.alarms import alarm_settings, alarms
from experiments.compression_bias.corrected import corrected_settings, followed, learned_by_walkers
from experiments.compression_bias.entries import entry_law, skewed
from experiments.compression_bias.gaussians import ill_conditioned, learned_precision
from experiments.compression_bias.scales import (
    QUICK,
    Scale,
    delayed_settings,
    few_settings,
    hard_settings,
    isotropic_settings,
    learned_settings,
)

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
    for corrected in corrected_settings(scale):
        yield "followed", lambda s=corrected: followed(s, scale)
    for corrected in corrected_settings(scale):
        yield "learned_by_walkers", lambda s=corrected: learned_by_walkers(s, scale)
    for setting, target in alarm_settings():
        yield "alarms", lambda s=setting, t=target: alarms(s, t, scale)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--quick", is_flag=True, help="a few small chains, in seconds")
@click.option("--study", "studies", multiple=True, type=click.Choice(tables.STUDIES),
              help="only these")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="folder for results.json, densities.png and bias.png; what other studies left "
              "there stays")  # fmt: skip
def main(quick: bool, studies: tuple[str, ...], out: Path | None) -> None:
    """Measure the bias of compressed chains against closed forms."""
    scale = QUICK if quick else Scale()
    found: dict[str, list[Row]] = {}
    chosen = [task for task in tasks(scale) if not studies or task[0] in studies]
    with click.progressbar(chosen, item_show_func=lambda t: t and t[0]) as bar:
        for study, run in bar:
            found.setdefault(study, []).append(plain(run()))
    click.echo("\n" + tables.everything(found))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        save(out, found, plain(dataclasses.asdict(scale) | {"learned": str(scale.learned)}))


def save(out: Path, found: dict[str, list[Row]], settings: Row) -> None:
    """Puts the studies beside those that are in the folder."""
    file = out / "results.json"
    report: Row = {"environments": {}, "settings": {}, "results": {}}
    if file.exists():
        report = json.loads(file.read_text())
    report["environments"] |= dict.fromkeys(found, environment())
    report["settings"] |= settings
    report["results"] |= found
    file.write_text(json.dumps(report, allow_nan=False) + "\n")
    results = report["results"]
    if "entries" in found:
        pictures.save_densities(out / "densities.png", results["entries"])
    if {"entries", "delays"} <= results.keys():
        pictures.save_bias(out / "bias.png", results["entries"], results["delays"])


if __name__ == "__main__":
    main()

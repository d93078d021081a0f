"""Recipes: named settings from which a run can begin."""

from __future__ import annotations

import dataclasses
from typing import Any

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import KINDS

# What a recipe is about; the data, the network, the length and the files are the user's own.
_GROUPS = ("Objective", "Chains", "Optimiser", "")
_MORE = ("base", "data_noise", "buffer_size")
_LENGTHS = ("iterations", "warm_up")
_FEW = 3  # changes that a line can name


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A named setting.

    Attributes:
        name: the value of ``--recipe``.
        about: a sentence that says what it does and where it comes from.
        options: values of options of :class:`effebm_ext.runs.config.TrainConfig`.
    """

    name: str
    about: str
    options: dict[str, Any]


_SHORT_RUN = {
    "base": "none",
    "compressor": "none",
    "error_feedback": False,
    "init": "uniform",
    "energy_l2": 0.0,
    "learning_rate": 1e-4,
    "learning_rate_schedule": "constant",
}
_PUBLISHED = (
    Recipe(
        "eff-ebm",
        "Take EFF-EBM's Algorithm 1 as it is published: persistent chains by plain Top-k, and "
        "gradient ascent.",
        {"verbatim": True, "compressor": "topk:0.1", "langevin_steps": 20},
    ),
    Recipe(
        "igebm",
        "Take large cold steps within [-1, 1] from a replay buffer, by clipped gradients (Du and "
        "Mordatch 2019).",
        {
            **_SHORT_RUN,
            "langevin_steps": 60,
            "step_size": 20.0,
            "noise_std": 0.005,
            "clip": "value:0.01",
            "bounds": "-1:1",
            "chains": 128,
            "batch_size": 128,
            "buffer_size": 10_000,
            "restart_probability": 0.05,
            "data_noise": 0.005,
            "energy_l2": 1.0,
            "ema_decay": 0.999,
        },
    ),
    Recipe(
        "jem",
        "Take large cold steps from a replay buffer, as JEM does, without its classifier "
        "(Grathwohl et al. 2020).",
        {
            **_SHORT_RUN,
            "langevin_steps": 20,
            "step_size": 2.0,
            "noise_std": 0.01,
            "chains": 64,
            "batch_size": 64,
            "buffer_size": 10_000,
            "restart_probability": 0.05,
            "data_noise": 0.03,
        },
    ),
    Recipe(
        "short-run",
        "Begin all chains anew from uniform noise in every iteration, and learn a generator of as "
        "many steps (Nijkamp et al. 2019).",
        {
            **_SHORT_RUN,
            "langevin_steps": 100,
            "step_size": 2.0,
            "noise_std": 0.01,
            "chains": 100,
            "batch_size": 100,
            "restart_probability": 1.0,
            "data_noise": 0.03,
        },
    ),
)


def _defaults(kind: str, energy: str | None = None) -> dict[str, Any]:
    """Returns the options that a run on data of this kind has if only its network is given."""
    defaults = TrainConfig(energy=energy).resolved(kind)
    fields = {f.name: f.metadata["group"] for f in dataclasses.fields(defaults)}
    names = {name for name, group in fields.items() if group in _GROUPS} - {*_LENGTHS} | {*_MORE}
    return {name: getattr(defaults, name) for name in fields if name in names}


def _default_recipe(kind: str) -> Recipe:
    """Returns the defaults for data of this kind, without those that go with the network."""
    others = _defaults(kind, "conv")
    options = {k: v for k, v in _defaults(kind, "unet").items() if v == others[k]}
    return Recipe(kind.replace(" ", "-"), f"Take the defaults for {kind}.", options)


DEFAULTS = {kind: _default_recipe(kind) for kind in KINDS}
RECIPES = {recipe.name: recipe for recipe in (*DEFAULTS.values(), *_PUBLISHED)}


def recipe_of(config: TrainConfig) -> str:
    """Says in words which recipe a resolved configuration follows: a published recipe if it has all
    of its options, or else the defaults for a kind of data with a few changes."""
    for recipe in _PUBLISHED:
        if not _changes(config, recipe.options):
            return f"recipe {recipe.name}"
    changes_of = {kind: _changes(config, _defaults(kind, config.energy)) for kind in KINDS}
    kind, changes = min(changes_of.items(), key=lambda item: len(item[1]))
    if len(changes) > _FEW:
        return "options of its own"
    but = ", ".join(f"{name} {value}" for name, value in changes.items())
    return f"recipe {DEFAULTS[kind].name}" + (f" but {but}" if changes else "")


def _changes(config: TrainConfig, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options in which a configuration is not as these, with its values."""
    seen = {name: getattr(config, name) for name in options}
    return {name: value for name, value in seen.items() if value != options[name]}

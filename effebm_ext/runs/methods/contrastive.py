"""The method for contrastive divergence with persistent chains (EFF-EBM, Algorithm 1)."""

from __future__ import annotations

import dataclasses
from typing import Any

from effebm_ext.objectives.contrastive import Contrastive
from effebm_ext.rng import key_for
from effebm_ext.runs.data.dataset import IMAGES
from effebm_ext.runs.methods.method import Method
from effebm_ext.runs.methods.setting import Setting
from effebm_ext.runs.options.common import CommonOptions
from effebm_ext.runs.options.fields import option


@dataclasses.dataclass(frozen=True)
class EnergyL2:
    """Options of objectives that compare the energies of data and samples."""

    energy_l2: float = option(
        None,
        "Add the squared energies to the loss with this weight. [default: 0.001, for jarzynski, "
        "for contrastive training on images of at least 16 x 16 pixels and with --verbatim 0]",
        resolved=0.001,
        at_least=0,
    )


@dataclasses.dataclass(frozen=True)
class ContrastiveOptions(EnergyL2):
    """Options of contrastive divergence."""

    denoising_weight: float = option(
        None,
        "Add a denoising loss with this weight, of the noise of --data-noise; 0 means none. "
        "[default: 0, for images of at least 16 x 16 pixels 10]",
        resolved=0.0,
        at_least=0,
    )
    warm_up: int = option(
        None,
        "Begin with this many iterations of the denoising loss only, while the chains rest. "
        "[default: 0; with the denoising loss on images of at least 16 x 16 pixels 500, at most "
        "half of all with unet and else a quarter]",
        resolved=0,
        at_least=0,
    )


def _check(config: CommonOptions, own: ContrastiveOptions) -> None:
    if own.denoising_weight and config.data_noise == 0:
        raise ValueError(
            "data_noise: expected > 0 with a denoising_weight, whose loss takes the noise off the "
            "data, got 0"
        )
    if own.denoising_weight and _is_tempered(config):
        raise ValueError(
            "denoising_weight: expected 0 with a temperature or a noise_std, since its loss makes "
            f"exp(-E) the density of the noisy data, got {own.denoising_weight}"
        )
    if own.warm_up and own.denoising_weight == 0:
        raise ValueError(f"warm_up: expected 0 without a denoising_weight, got {own.warm_up}")


def _make(setting: Setting, own: ContrastiveOptions) -> Contrastive:
    config = setting.config
    return Contrastive(
        setting.energy,
        setting.chains(),
        langevin_steps=config.langevin_steps,
        energy_l2=own.energy_l2,
        denoising=own.denoising_weight,
        sigma=config.data_noise if own.denoising_weight else None,
        key=key_for("denoising", config.seed),
        warm_up=own.warm_up,
    )


def _is_tempered(config: CommonOptions) -> bool:
    return config.temperature != 1 or config.noise_std is not None


def _defaults(config: Any, kind: str) -> dict[str, Any]:
    """Returns what keeps training on images stable (docs/images.md): a base that chains cannot
    leave, and a denoising loss that leads them back to the data."""
    if kind != IMAGES or _is_tempered(config):
        return {}
    weight = 0.0 if config.verbatim or config.data_noise == 0 else 10.0
    denoises = bool(weight if config.denoising_weight is None else config.denoising_weight)
    # Its gradient is a denoiser. It learns in fewer iterations, which take longer.
    energy = "unet" if denoises else "auto"
    is_unet = (config.energy or energy) == "unet"
    iterations = config.iterations or (1000 if is_unet else 2000)
    return {
        "energy": energy,
        "base": "gaussian",
        "iterations": iterations,
        "batch_size": 64,
        "langevin_steps": 10,
        "learning_rate": 2e-3 if is_unet else 5e-4,
        # Squared energies would fight the base, whose energies are not near zero.
        "energy_l2": 0.001 if config.base == "none" else 0.0,
        "denoising_weight": weight,
        "warm_up": min(500, iterations // (2 if is_unet else 4)) if denoises else 0,
    }


CONTRASTIVE = Method(
    "contrastive",
    _make,
    options=ContrastiveOptions,
    check=_check,
    defaults=_defaults,
    shown={"energy_gap": "+.3f", "denoising_loss": ".4g"},
    adds_noise=lambda own: bool(own.denoising_weight),
    takes_any_chains=True,
)

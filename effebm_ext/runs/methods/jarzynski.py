"""The method for training by weighted walkers."""

from __future__ import annotations

import dataclasses
import math

import torch

from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.objectives.jarzynski import Jarzynski
from effebm_ext.rng import Key, generator_for, key_for
from effebm_ext.runs.methods.contrastive import EnergyL2
from effebm_ext.runs.methods.method import Method
from effebm_ext.runs.methods.setting import Setting, gaussian_of, on_divergence
from effebm_ext.runs.options.common import CommonOptions
from effebm_ext.runs.options.fields import option
from effebm_ext.samplers import MALA, Langevin


@dataclasses.dataclass(frozen=True)
class JarzynskiOptions(EnergyL2):
    """Options of weighted walkers."""

    adjusted: bool = option(False, "Move the weighted walkers by Metropolis-adjusted steps.")
    moved_chains: int = option(
        0, "Move this many weighted walkers at a time; 0 means all.", at_least=0
    )
    resampling: str = option(
        "systematic",
        "Resample the weighted walkers by this method.",
        names=("systematic", "stratified", "multinomial"),
    )
    resample_threshold: float = option(
        0.5,
        "Resample the weighted walkers if their effective sample size is below this share.",
        at_least=0,
        at_most=1,
    )
    following_walkers: int = option(
        0,
        "Move this many weighted walkers more that never enter the gradient, and take log Z and "
        "the cross-entropy of the metrics from them; 0 means none.",
        at_least=0,
    )


def _check(config: CommonOptions, own: JarzynskiOptions) -> None:
    if config.averaged_noise:
        raise ValueError(
            "averaged_noise: expected none with objective jarzynski, whose weights need noise that "
            "is independent of the steps before"
        )
    if config.error_feedback and config.compressor not in (None, "none"):
        raise ValueError(
            "error_feedback: expected none with objective jarzynski, whose weights need a "
            "drift that depends on the walker alone and not on its past"
        )
    if config.shards > 1:
        raise ValueError(
            f"shards: expected 1 with objective jarzynski, whose walkers move in one group, got "
            f"{config.shards}"
        )
    if config.cuda_graph:
        raise ValueError(
            "cuda_graph: expected none with objective jarzynski, whose walkers move by steps with "
            "a ratio, which are not captured"
        )
    for name in ("conditional", "buffer_size", "restart_probability"):
        if getattr(config, name):
            raise ValueError(
                f"{name}: not with objective jarzynski, whose walkers are weighted samples of "
                f"one density all along, got {getattr(config, name)}"
            )
    if config.base == "none":
        raise ValueError(
            "base: expected gaussian with objective jarzynski, whose weights estimate log Z, which "
            "must be finite, got none"
        )
    if config.energy == "resnet":
        raise ValueError(
            "energy: not resnet with objective jarzynski: its quadratic head may fall faster "
            "than the Gaussian rises, and log Z be infinite"
        )
    if config.init != "noise":
        raise ValueError(
            "init: expected noise with objective jarzynski, whose walkers have weights from the "
            f"Gaussian base on, got {config.init}"
        )
    if own.moved_chains > config.chains:
        raise ValueError(
            f"moved_chains: expected 0 to chains, {config.chains}, got {own.moved_chains}"
        )
    if own.following_walkers == 1:
        raise ValueError(
            "following_walkers: expected 0 or at least 2, of which a standard error is found, got 1"
        )


def _make(setting: Setting, own: JarzynskiOptions) -> Jarzynski:
    config = setting.config
    kind = MALA if own.adjusted else Langevin
    sampler = kind(
        setting.energy,
        step_size=setting.step_size,
        compressor=config.chain_compressor,
        clip=config.chain_clip,
        compile=config.compile,
        gradient_dtype=config.chain_gradient_dtype,
    )
    mean, std = gaussian_of(config, setting.data)

    def walkers(n: int, generator: torch.Generator, key: Key, moved: int) -> WeightedWalkers:
        noise = torch.randn((n, *setting.data.shape[1:]), generator=generator)
        half_squares = noise.double().square().flatten(1).sum(1) / 2
        volume = noise[0].numel() * math.log(math.sqrt(2 * math.pi) * std)
        return WeightedWalkers(
            sampler,
            (mean + std * noise).to(setting.device),
            (-half_squares - volume).to(setting.device),
            rng=key,
            moved=moved,
            resampling=own.resampling,
            resample_threshold=own.resample_threshold,
            on_divergence=on_divergence(config),
        )

    followers = None
    if own.following_walkers:  # with numbers of their own, so that they do not change the training
        generator = generator_for("followers", config.seed)
        key = key_for("followers", config.seed)
        followers = walkers(own.following_walkers, generator, key, 0)
    return Jarzynski(
        setting.energy,
        walkers(config.chains, setting.generator, Key(config.seed), own.moved_chains),
        langevin_steps=config.langevin_steps,
        energy_l2=own.energy_l2,
        followers=followers,
    )


JARZYNSKI = Method(
    "jarzynski",
    _make,
    options=JarzynskiOptions,
    check=_check,
    # Without energy_l2 the loss has the gradient of the cross-entropy.
    defaults=lambda config, kind: {
        "compressor": "none",
        "error_feedback": False,
        "energy_l2": 0.0,
        "base": "gaussian",
    },
    estimates={"cross_entropy": ".2f"},
    compresses_samples=False,  # weights correct compression in training, but not in samples
)

"""The methods for score matching, one for each of its losses."""

from __future__ import annotations

import dataclasses
from typing import Any

from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.objectives.score_matching import DENOISING, METHODS, ScoreMatching
from effebm_ext.rng import key_for
from effebm_ext.runs.data.dataset import POINTS
from effebm_ext.runs.methods.method import Method, NoOptions
from effebm_ext.runs.methods.setting import Setting
from effebm_ext.runs.options.common import CommonOptions
from effebm_ext.runs.options.fields import option


@dataclasses.dataclass(frozen=True)
class Denoising:
    """Options of losses that take noise off the data."""

    noise_end: float = option(
        0.0,
        "Take noise of several scales off the data, from --data-noise down or up to this one; 0 "
        "means one scale, the only case in which the energy is that of noisy data.",
        at_least=0,
    )


@dataclasses.dataclass(frozen=True)
class FiniteDifferences:
    """Options of losses that take differences of energies in place of derivatives."""

    fd_epsilon: float = option(
        None, "Take finite differences of this size. [default: 0.1]", resolved=0.1, above=0
    )


@dataclasses.dataclass(frozen=True)
class FiniteDifferenceDenoising(FiniteDifferences, Denoising):
    """Options of losses that take noise off by differences of energies."""


def _check_denoising(config: CommonOptions, own: Denoising) -> None:
    if config.data_noise == 0:
        raise ValueError(
            f"data_noise: expected > 0 with objective {config.objective}, which takes it off "
            "again, got 0"
        )


def _make(setting: Setting, own: Any) -> ScoreMatching:
    config = setting.config
    options: dict[str, Any] = {}
    if isinstance(own, FiniteDifferences):
        options["epsilon"] = own.fd_epsilon
    if isinstance(own, Denoising):
        options["sigma_end"] = own.noise_end or None
    return ScoreMatching(
        setting.energy,
        IntermittentChains(setting.chains(in_loss=False), setting.move_every),
        config.objective,
        key=key_for("score matching", config.seed),
        langevin_steps=config.langevin_steps,
        sigma=config.data_noise,
        **options,
    )


def _method(loss: str) -> Method:
    differences, denoising = loss.startswith("fd-"), loss in DENOISING
    kinds = {
        (False, False): NoOptions,
        (False, True): Denoising,
        (True, False): FiniteDifferences,
        (True, True): FiniteDifferenceDenoising,
    }
    method = Method(
        loss,
        _make,
        options=kinds[differences, denoising],
        shown={"loss": "+.4g"},  # the chains hardly ever move
        moves_rarely=True,
    )
    if not denoising:
        return method
    return dataclasses.replace(
        method,
        check=_check_denoising,
        defaults=lambda config, kind: {"data_noise": 0.1} if kind == POINTS else {},
        adds_noise=lambda own: True,
    )


SCORE_MATCHING = tuple(_method(loss) for loss in METHODS)

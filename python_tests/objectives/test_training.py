import dataclasses
import functools
import json
import math

import numpy as np
import pytest
import torch

import effebm_ext as eff
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import Contrastive, Jarzynski, ParticleDynamics, ScoreMatching
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.methods import METHODS
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import NonFiniteError, Trainer

TINY = TrainConfig(
    data="two-moons", chains=8, langevin_steps=2, iterations=3, batch_size=4, compressor="topk:1"
)
POINTS = Dataset("points", torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), False)


class Precision(torch.nn.Module):
    """E(x) = exp(log_precision) * |x|^2 / 2: the one parameter has a known best value."""

    def __init__(self):
        super().__init__()
        self.log_precision = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.log_precision.exp() * x.square().sum(1) / 2


@pytest.mark.parametrize(
    ("optimizer", "rate"), [(torch.optim.SGD, 0.02), (torch.optim.Adam, 0.02)], ids=str
)
def test_training_finds_the_precision_of_gaussian_data(optimizer, rate):
    # data of variance 4, so the precision is 1/4; the chain's variance is 1 / (p (1 - g p / 4))
    energy, dim = Precision(), 64
    data = 2 * torch.randn(4000, dim, generator=torch.Generator().manual_seed(0))
    sampler = eff.Langevin(
        energy, step_size=0.05, compressor=eff.BlockSign(16), error_feedback=True
    )
    chains = PersistentChains(sampler, torch.randn(64, dim), rng=eff.Key(0))
    objective = Contrastive(energy, chains, langevin_steps=20)
    trainer = Trainer(
        energy, optimizer(energy.parameters(), lr=rate), objective, data, batch_size=200,
        max_grad_norm=1.0, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    seen = []
    for _ in range(400):
        trainer.iteration()
        seen.append(energy.log_precision.exp().item())
    assert sum(seen[200:]) / 200 == pytest.approx(0.25, rel=0.04)


def test_equal_seeds_give_equal_runs_and_other_seeds_do_not():
    def parameters(seed):
        trainer = make_trainer(dataclasses.replace(TINY, seed=seed), POINTS)
        metrics = [trainer.iteration() for _ in range(3)]
        return torch.cat([p.flatten() for p in trainer.energy.parameters()]), metrics

    (first, metrics), (again, metrics_again), (other, _) = (
        parameters(1),
        parameters(1),
        parameters(2),
    )
    assert torch.equal(first, again)
    assert metrics == metrics_again
    assert not torch.equal(first, other)


def test_the_seed_makes_the_parameters_and_the_default_generator_stays_as_it_was():
    torch.manual_seed(7)
    want = MLPEnergy(POINTS.event_shape)
    before = torch.random.get_rng_state()
    trainer = make_trainer(dataclasses.replace(TINY, seed=7), POINTS)
    for got, parameter in zip(trainer.energy.parameters(), want.parameters(), strict=True):
        assert torch.equal(got, parameter)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_numpy_scalars_are_numbers_in_a_configuration():
    config = TrainConfig(
        step_size=np.float32(0.25), chains=np.int64(8), seed=np.uint64(3), data_noise=np.float64(0)
    )
    assert config == TrainConfig(step_size=0.25, chains=8, seed=3, data_noise=0.0)
    assert TrainConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config
    make_trainer(config, POINTS).iteration()


def test_chains_persist_and_metrics_are_complete():
    trainer = make_trainer(TINY, POINTS)
    start = trainer.chains.state.x.clone()
    metrics = trainer.iteration()
    of_energies = {"energy_gap", "data_energy", "sample_energy", "virial"}
    assert set(metrics) == {*of_energies, "loss", "grad_norm"}
    assert trainer.chains.state.step == 2
    trainer.iteration()
    assert trainer.chains.state.step == 4
    assert not torch.equal(trainer.chains.state.x, start)
    assert metrics["energy_gap"] == pytest.approx(
        metrics["sample_energy"] - metrics["data_energy"], abs=1e-5
    )


def test_parameter_gradients_are_scaled_down_to_the_guard():
    config = dataclasses.replace(TINY, max_grad_norm=1e-3)
    trainer = make_trainer(config, POINTS)
    norm = trainer.iteration()["grad_norm"]
    left = math.sqrt(sum(p.grad.square().sum().item() for p in trainer.energy.parameters()))
    assert norm > 1e-3
    assert left == pytest.approx(1e-3, rel=1e-3)


def test_only_what_the_optimiser_holds_is_scaled_down():
    """The gradients of other parameters, which nothing sets to zero, add up."""
    norms = {}
    for frozen in (True, False):
        torch.manual_seed(0)
        energy = MLPEnergy((2,), width=8, depth=2)
        head = list(energy.parameters())[-2:]
        for p in energy.parameters():
            p.requires_grad_(not frozen or any(p is h for h in head))
        sampler = eff.Langevin(energy, step_size=0.01)
        chains = PersistentChains(sampler, POINTS.rows[:8].clone(), rng=eff.Key(0))
        trainer = Trainer(
            energy, torch.optim.SGD(head, lr=0.01), Contrastive(energy, chains, langevin_steps=1),
            POINTS.rows, batch_size=8, generator=torch.Generator().manual_seed(0),
            max_grad_norm=0.1,
        )  # fmt: skip
        norms[frozen] = [trainer.iteration()["grad_norm"] for _ in range(4)]
    assert norms[True] == norms[False]
    assert max(norms[True]) > 0.1  # so that the bound acts


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_energy_stops_training_and_spares_the_parameters(bad):
    trainer = make_trainer(TINY, POINTS)
    trainer.iteration()
    before = [p.clone() for p in trainer.energy.parameters()]
    trainer.data = torch.full_like(trainer.data[:], bad)
    with pytest.raises(NonFiniteError, match=r"iteration 2: .* is (nan|inf|-inf)"):
        trainer.iteration()
    assert all(torch.equal(p, b) for p, b in zip(trainer.energy.parameters(), before, strict=True))


def test_error_feedback_is_the_default_and_can_be_turned_off():
    assert make_trainer(TrainConfig(chains=2), POINTS).chains.state.residual is not None
    for config in (
        TrainConfig(chains=2, error_feedback=False),
        TrainConfig(chains=2, compressor="none"),
    ):
        assert make_trainer(config, POINTS).chains.state.residual is None
    assert TrainConfig().resolved("points").compressor == "block-sign:64"
    # choosing a compressor later does not lose the default
    changed = dataclasses.replace(TrainConfig(chains=2, compressor="none"), compressor="topk:1")
    assert make_trainer(changed, POINTS).chains.state.residual is not None


@pytest.mark.parametrize(
    ("text", "clip"),
    [("none", None), ("value:0.01", eff.ClipValue(0.01)), ("norm:1.0", eff.ClipNorm(1.0))],
)
def test_clip_by_name(text, clip):
    trainer = make_trainer(dataclasses.replace(TINY, clip=text), POINTS)
    assert trainer.chains.sampler.clip == clip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_size": -0.1}, "step_size: expected a finite number > 0, got -0.1"),
        ({"step_size": math.nan}, "step_size: .* got nan"),
        ({"iterations": 0}, "iterations: .* got 0"),
        ({"chains": -1}, "chains: .* got -1"),
        ({"data_noise": -1.0}, "data_noise: expected a finite number >= 0, got -1"),
        ({"compressor": "topk"}, "compressor: "),
        ({"seed": 2**64}, "seed: expected a 64-bit integer"),
        ({"compressor": "blocksign:64"}, "compressor: expected none, topk:RATIO"),
        ({"compressor": "topk:1.5"}, "ratio: expected 0 < ratio <= 1, got 1.5"),
        ({"compressor": "block-sign:0"}, "block_size: expected at least 1, got 0"),
        ({"clip": "value"}, "clip: 'value': expected value:LIMIT"),
        ({"clip": "value:nan"}, "limit: expected a positive finite number, got nan"),
        ({"clip": "clamp:1"}, "clip: expected none, value:LIMIT or norm:LIMIT, got 'clamp:1'"),
        ({"step_size_end": 0.0}, "step_size_end: expected a finite number > 0, got 0"),
        ({"restart_probability": 1.5}, "restart_probability: expected 0 to 1, got 1.5"),
        ({"buffer_size": 3}, "buffer_size: expected 0 or at least chains, 8, got 3"),
        ({"ema_decay": 1.0}, "ema_decay: expected 0 <= ema_decay < 1, got 1.0"),
        ({"learning_rate_schedule": "step"}, "expected cosine, linear, constant, got 'step'"),
    ],
)
def test_bad_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize("objective", METHODS)
def test_options_of_other_objectives_are_refused(objective):
    others = {
        "fd_epsilon": 0.2, "noise_end": 1.0, "adjusted": True, "moved_chains": 2,
        "resampling": "multinomial", "resample_threshold": 0.1, "particle_move": "beta",
        "step_correction": True, "energy_l2": 0.5,
    }  # fmt: skip
    owned = {
        "contrastive": {"energy_l2"},
        "jarzynski": {"energy_l2", "adjusted", "moved_chains", "resampling", "resample_threshold"},
        "particle": {"energy_l2", "particle_move", "step_correction"},
        "dsm": {"noise_end"},
        "fd-dsm": {"noise_end", "fd_epsilon"},
        "fd-ssm": {"fd_epsilon"},
        "fd-ssm-vr": {"fd_epsilon"},
    }.get(objective, set())
    for name, value in others.items():
        if name in owned:
            TrainConfig(objective=objective, **{name: value})
        else:
            with pytest.raises(ValueError, match=f"^{name}: expected none with objective"):
                TrainConfig(objective=objective, **{name: value})
    resolved = TrainConfig(objective=objective).resolved("points")
    default = 0 if objective == "jarzynski" else 0.001
    assert resolved.energy_l2 == (default if "energy_l2" in owned else None)
    assert resolved.fd_epsilon == (0.1 if "fd_epsilon" in owned else None)
    assert TrainConfig(**dataclasses.asdict(resolved)) == resolved


def test_denoising_needs_noise():
    with pytest.raises(ValueError, match=r"data_noise: expected > 0 with objective dsm, .* got 0"):
        TrainConfig(objective="dsm", data_noise=0.0)


def test_steps_that_move_no_chain_are_refused():
    energy, x = Precision(), torch.zeros(4, 2)
    sampler = eff.Langevin(energy, step_size=0.1)
    chains = PersistentChains(sampler, x)
    walkers = WeightedWalkers(sampler, x, torch.zeros(4))
    makers = [
        (1, functools.partial(Contrastive, energy, chains)),
        (1, functools.partial(Jarzynski, energy, walkers)),
        (1, functools.partial(
            ScoreMatching, energy, IntermittentChains(chains, 1), "sm", key=eff.Key(0)
        )),
        (0, functools.partial(ParticleDynamics, energy, chains)),  # which moves without steps too
    ]  # fmt: skip
    for least, make in makers:
        assert make(langevin_steps=least).langevin_steps == least
        message = f"langevin_steps: expected at least {least}, got {least - 1}"
        with pytest.raises(ValueError, match=message):
            make(langevin_steps=least - 1)
        with pytest.raises(TypeError, match=r"langevin_steps: expected an int, got float"):
            make(langevin_steps=1.5)


def test_k_larger_than_an_event_is_refused():
    with pytest.raises(ValueError, match="k: expected 0 <= k <= 2"):
        make_trainer(dataclasses.replace(TINY, compressor="topk:3"), POINTS)


def test_the_learning_rate_follows_its_schedule():
    def rates(schedule):
        trainer = make_trainer(
            dataclasses.replace(TINY, iterations=4, learning_rate_schedule=schedule), POINTS
        )
        seen = []
        for _ in range(4):
            seen.append(trainer.optimizer.param_groups[0]["lr"] / 1e-3)
            trainer.iteration()
        return [*seen, trainer.optimizer.param_groups[0]["lr"] / 1e-3]

    assert rates("constant") == [1, 1, 1, 1, 1]
    assert rates("linear") == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    half = math.sqrt(0.5)
    assert rates("cosine") == pytest.approx([1, (1 + half) / 2, 0.5, (1 - half) / 2, 0])


def test_step_sizes_go_geometrically_from_the_first_to_the_last():
    config = dataclasses.replace(TINY, step_size=0.16, step_size_end=0.01)
    step_size = make_trainer(config, POINTS).chains.sampler.step_size
    steps = TINY.iterations * TINY.langevin_steps
    assert [step_size(s) for s in (0, steps // 2, steps, 2 * steps)] == pytest.approx(
        [0.16, 0.04, 0.01, 0.01]
    )


def test_the_moving_average_of_the_parameters():
    trainer = make_trainer(dataclasses.replace(TINY, ema_decay=0.75), POINTS)
    average = None
    for _ in range(3):
        trainer.iteration()
        now = torch.cat([p.detach().flatten() for p in trainer.energy.parameters()])
        average = now if average is None else 0.75 * average + 0.25 * now
    kept = torch.cat([p.flatten() for p in trainer.ema.module.parameters()])
    torch.testing.assert_close(kept, average)
    assert not torch.equal(kept, now)

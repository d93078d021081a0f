"""The training loop of particle dynamics, step by step."""

import copy
import dataclasses
import math

import pytest
import torch
from helpers import assert_same_bits, normal
from moved_energies import F64, MODULES, MOVES, Shifted, step_along, white
from torch import nn

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.energies import energy_and_gradient
from effebm_ext.objectives import ParticleDynamics
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import Trainer


def particles(energy, x0, *, langevin_steps=1, **options):
    compressor = options.pop("compressor", None)
    sampler = eff.Langevin(
        energy, step_size=0.01, compressor=compressor, error_feedback=compressor is not None
    )
    kwargs = options.pop("energy_kwargs", None)
    chains = PersistentChains(sampler, x0, rng=eff.Key(3), energy_kwargs=kwargs)
    return ParticleDynamics(energy, chains, langevin_steps=langevin_steps, **options)


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("move", MOVES)
def test_what_the_parameters_did_not_change_moves_no_particle(kind, move):
    energy = MODULES[kind]()
    objective = particles(energy, normal(8, 2), move=move, corrected=True)
    trainer = Trainer(
        energy, torch.optim.SGD(energy.parameters(), lr=0.0), objective, normal(20, 2, seed=1),
        batch_size=4,
    )  # fmt: skip
    for _ in range(3):
        metrics = trainer.iteration()
        assert (metrics["move_rms"], metrics["step_correction"]) == (0.0, 1.0)


def test_no_move_is_longer_than_that_of_the_source():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return x @ self.slope

    far = torch.tensor([[0.0, 0.0], [0.0, 1.0], [100.0, 0.0]])
    moved = []
    for corrected in (False, True):
        energy = Linear()
        objective = particles(energy, far, corrected=corrected)
        objective.loss(far, {})
        step_along(energy, [torch.tensor([0.5, 0.0])], 1.0)
        metrics = objective.parameters_moved()
        moved.append(objective.chains.x)
    assert metrics["step_correction"] > 1000
    assert_same_bits(*moved)


def loop_by_hand(trainer, reference, *, move, corrected):
    """An iteration of a deep copy, in the order of the method."""
    state = reference.objective.chains.state
    reference.objective.advance()
    x = state.x.clone()
    loss, _ = reference.objective.loss(*reference._batch())
    reference.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(reference.energy.parameters(), reference.max_grad_norm)
    before = copy.deepcopy(reference.energy)
    residual = None if state.residual is None else state.residual.clone()
    reference.optimizer.step()
    reference.schedule.step()
    old_energy, old_gradient = energy_and_gradient(before, x, state.energy_kwargs)
    energy, gradient = energy_and_gradient(reference.energy, x, state.energy_kwargs)
    v, change = old_gradient - gradient, energy - old_energy
    if move == "beta":
        leaf = x.clone().requires_grad_()
        pairs = list(zip(reference.energy.parameters(), before.parameters(), strict=True))
        grads = torch.autograd.grad(
            reference.energy(leaf, **state.energy_kwargs).sum(),
            [p for p, _ in pairs],
            create_graph=True,
        )
        rate = sum((g * (p - b).detach()).sum() for g, (p, b) in zip(grads, pairs, strict=True))
        v = -torch.autograd.grad(rate, leaf)[0]
    if corrected:
        y = state.energy_kwargs.get("y", torch.zeros(len(x), dtype=torch.int64))
        within = sum(
            float((change[y == k] - change[y == k].mean()).square().sum()) for k in y.unique()
        )
        c = within / (len(x) - len(y.unique())) / float(v.square().sum(1).mean())
        v = min(c, 1.0) * v
    state.x = x + v
    return v, residual


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("conditional", [False, True])
def test_an_iteration_is_langevin_then_a_step_then_the_move(conditional, move, corrected):
    config = TrainConfig(
        data="eight-gaussians", objective="particle", particle_move=move, chains=32,
        step_correction=corrected, conditional=conditional, langevin_steps=3, iterations=9,
        batch_size=16, compressor="topk:1", learning_rate=1e-3,
    )  # fmt: skip
    data = load("eight-gaussians")
    trainer, reference = make_trainer(config, data), make_trainer(config, data)
    labels = dict(trainer.chains.state.energy_kwargs)
    assert set(labels) == ({"y"} if conditional else set())
    for i in range(3):
        metrics = trainer.iteration()
        v, residual = loop_by_hand(trainer, reference, move=move, corrected=corrected)
        torch.testing.assert_close(trainer.chains.state.x, reference.chains.state.x)
        assert metrics["move_rms"] == pytest.approx(float(v.square().mean().sqrt()), rel=1e-4)
        assert 1e-4 < metrics["move_rms"] < 1
        assert ("step_correction" in metrics) == corrected
        assert {"energy_gap", "data_energy", "sample_energy"} <= set(metrics)
        # the residual is what the Langevin steps dropped, whatever the move
        assert torch.equal(reference.chains.state.residual, residual)
        torch.testing.assert_close(trainer.chains.state.residual, residual)
        assert trainer.chains.state.step == 3 * (i + 1)
    for name, value in labels.items():
        assert torch.equal(trainer.chains.state.energy_kwargs[name], value)
    for p, q in zip(trainer.energy.parameters(), reference.energy.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_without_langevin_steps_the_particles_still_follow(width):
    """Transport alone carries the particles to the data, of which the mean is to be learnt."""
    data = torch.tensor([3.0, -2.0], dtype=F64) + width * white(100, 2)
    energy, start = Shifted(torch.zeros(2), width), width * white(60, 2)
    objective = particles(energy, start, langevin_steps=0, corrected=True)
    trainer = Trainer(
        energy, torch.optim.Adam(energy.parameters(), lr=0.05, betas=(0.0, 0.999)), objective, data,
        batch_size=50, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    for _ in range(300):
        trainer.iteration()
    # The particles have the variance, which is estimated from them as 60/59 of it.
    factor = 60 / 59 if width < 1 else 1.0
    expected = start + factor * energy.mean.detach()
    torch.testing.assert_close(objective.chains.x, expected, rtol=0, atol=1e-10)
    error = 4 * width * math.sqrt(1 / 50) + 0.05  # of a batch's mean, and a step of Adam
    torch.testing.assert_close(energy.mean.detach(), data.mean(0), rtol=0, atol=error)


def test_what_is_refused():
    with pytest.raises(ValueError, match="particle_move: expected alpha, beta, got 'gamma'"):
        TrainConfig(particle_move="gamma")
    energy, x = Shifted(torch.zeros(2), 1.0), normal(6, 2, dtype=F64)
    with pytest.raises(ValueError, match="move: expected alpha or beta, got 'gamma'"):
        particles(energy, x, move="gamma")
    buffer = ReplayBuffer(
        eff.Langevin(energy, step_size=0.1), x, n_chains=2, generator=torch.Generator()
    )
    with pytest.raises(TypeError, match=r"chains: expected PersistentChains, .* got ReplayBuffer"):
        ParticleDynamics(energy, buffer, langevin_steps=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.25}, r"sampler of temperature 1, got 0\.25"),
        ({"temperature": torch.ones(6)}, "sampler of temperature 1, got tensor"),
        ({"bounds": (-1, 1)}, "sampler without bounds, got "),
    ],
)
def test_moves_that_know_no_walls_and_no_temperature_are_refused(options, message):
    energy, x = Shifted(torch.zeros(2), 1.0), normal(6, 2, dtype=F64)
    chains = PersistentChains(eff.Langevin(energy, step_size=0.1, **options), x)
    with pytest.raises(ValueError, match=message):
        ParticleDynamics(energy, chains, langevin_steps=1)


def test_a_move_to_where_nothing_is_finite_stops_the_run():
    data = Dataset("points", normal(50, 2), False)
    config = TrainConfig(objective="particle", chains=4, langevin_steps=1, batch_size=4)
    trainer = make_trainer(dataclasses.replace(config, learning_rate=1e30), data)
    with pytest.raises(RuntimeError, match="iteration 1: move_rms is nan"):
        trainer.iteration()

"""Particle dynamics: moves with the change of the energy against closed forms, and their training
loop, step by step."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers import assert_same_bits, normal
from kill_and_resume import result
from torch import nn

import effebm_ext as eff
from effebm_ext.chains.particle_moves import (
    FrozenEnergy,
    Move,
    alpha_move,
    beta_move,
    step_correction,
)
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.energies import energy_and_gradient
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import ParticleDynamics
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import Trainer

F64 = torch.float64
MOVES = {"alpha": alpha_move, "beta": beta_move}


class Shifted(nn.Module):
    """E(x) = |x - mean|^2 / (2 width^2), that of a Gaussian."""

    def __init__(self, mean, width):
        super().__init__()
        self.mean = nn.Parameter(torch.as_tensor(mean, dtype=F64))
        self.width = width

    def forward(self, x):
        return (x - self.mean).square().sum(1) / (2 * self.width**2)


class Features(nn.Module):
    """E(x) = theta . phi(x), linear in its parameters."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(normal(6, dtype=F64))

    def forward(self, x):
        a, b = x[:, 0], x[:, 1]
        phi = [a.sin(), b.cos(), a * b, a * a, b.square() * b, (a - b).tanh()]
        return torch.stack(phi, 1) @ self.theta


def white(n, d):
    """Points (n, d) of mean zero and of a covariance of exactly one."""
    x = normal(n, d, seed=5, dtype=F64)
    x = x - x.mean(0)
    root = torch.linalg.cholesky(x.T @ x / n)
    return torch.linalg.solve_triangular(root, x.T, upper=False).T


def step_along(energy, direction, size):
    with torch.no_grad():
        for p, d in zip(energy.parameters(), direction, strict=True):
            p += size * d


@pytest.mark.parametrize("kind", MOVES)
@pytest.mark.parametrize("width", [1.0, 0.3, 2.5])
def test_samples_of_a_shifted_gaussian_arrive_where_it_went(kind, width):
    shift = torch.tensor([0.4, -1.2, 0.1], dtype=F64)
    energy = Shifted(torch.zeros(3), width)
    x = width * white(200, 3)
    old = FrozenEnergy(energy)
    step_along(energy, [shift], 1.0)
    move = MOVES[kind](x, old, energy)
    if kind == "alpha" or width == 1.0:
        want = energy(x) - Shifted(torch.zeros(3), width)(x)
        torch.testing.assert_close(move.energy_change, want.detach())
    unit = shift.expand(200, 3)
    torch.testing.assert_close(width**2 * move.displacement, unit, rtol=1e-12, atol=1e-12)
    c = step_correction(move) * 199 / 200  # these particles have the variance, not its estimate
    assert float(c) == pytest.approx(width**2, rel=1e-12)
    torch.testing.assert_close(c * move.displacement, unit, rtol=1e-12, atol=1e-12)


def difference_of_moves(size):
    energy = MLPEnergy((2,), width=16, depth=2).double()
    torch.manual_seed(0)
    for p in energy.parameters():
        nn.init.normal_(p, std=0.5)
    x = normal(50, 2, dtype=F64)
    direction = [normal(*p.shape, seed=i, dtype=F64) for i, p in enumerate(energy.parameters())]
    old = FrozenEnergy(energy)
    step_along(energy, direction, size)
    alpha, beta = alpha_move(x, old, energy), beta_move(x, old, energy)
    assert torch.equal(alpha.energy_change, beta.energy_change)
    norm = (alpha.displacement - beta.displacement).norm()
    return float(norm), float(alpha.displacement.norm())


def test_alpha_and_beta_differ_in_second_order_of_the_step():
    found = torch.tensor([difference_of_moves(2.0**-k) for k in range(8, 13)])
    orders = (found[:-1] / found[1:]).log2()
    assert orders[:, 0].tolist() == pytest.approx([2.0] * 4, abs=0.03)
    assert orders[:, 1].tolist() == pytest.approx([1.0] * 4, abs=0.03)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.Rprop])
def test_beta_goes_along_what_the_optimiser_really_did(optimizer):
    # where E is linear in theta, beta is alpha for the true increment and for no other
    energy, x = Features(), normal(30, 2, dtype=F64)
    steps = optimizer(energy.parameters(), lr=0.1)
    for _ in range(3):  # so that the optimiser has a memory
        old = FrozenEnergy(energy)
        steps.zero_grad()
        energy(x).mean().backward()
        nn.utils.clip_grad_norm_(energy.parameters(), 0.5)
        steps.step()
    alpha, beta = alpha_move(x, old, energy), beta_move(x, old, energy)
    torch.testing.assert_close(beta.displacement, alpha.displacement, rtol=1e-9, atol=1e-12)
    assert float(beta.displacement.norm()) > 0.01


def test_beta_without_what_it_cannot_move():
    """Frozen parameters, those that the energy does not use, and an energy linear in x."""

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.tensor([2.0, -1.0]))
            self.unused = nn.Parameter(torch.ones(3))
            self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

        def forward(self, x):
            return (x @ (self.slope * self.frozen)).unsqueeze(1)

    energy = Line()
    old = FrozenEnergy(energy)
    step_along(energy, [torch.tensor([0.5, 0.25]), 1.0, 0.0], 1.0)
    move = beta_move(torch.ones(4, 2), old, energy)
    assert torch.equal(move.displacement, torch.tensor([[-0.5, -0.25]]).expand(4, 2))
    assert torch.equal(move.energy_change, torch.full((4,), 0.75))
    assert all(p.grad is None for p in energy.parameters())


class Counting(nn.Module):
    """Evaluations change its buffer, on which its energy depends."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.count.clone() * self.weight * x.square().sum(1)


def normalised(norm):
    torch.manual_seed(0)
    return nn.Sequential(norm(nn.Linear(2, 8)), nn.SiLU(), norm(nn.Linear(8, 1)), nn.Flatten(0))


def tied():
    first, second, last = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 1)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second, last)


MODULES = {
    "counting": Counting,
    "spectral norm": lambda: normalised(nn.utils.parametrizations.spectral_norm),
    "spectral norm by hooks": lambda: normalised(nn.utils.spectral_norm),
    "one layer twice": lambda: nn.Sequential(*[nn.Linear(2, 2)] * 2, nn.Linear(2, 1)),
    "tied": tied,
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_frozen_energy_has_the_parameters_and_the_buffers_of_its_moment(kind):
    energy, x = MODULES[kind](), normal(5, 2)
    energy(x)
    old = FrozenEnergy(energy)
    own = [id(p) for p in energy.parameters()]
    held = {name: b.clone() for name, b in energy.named_buffers()}
    twice = [old(x), old(x)]
    assert all(torch.equal(b, held[name]) for name, b in energy.named_buffers())
    now = energy(x)  # which moves the buffers
    step_along(energy, [1.0] * len(list(energy.parameters())), 0.5)
    energy(x)
    for value in (*twice, old(x)):
        assert torch.equal(value, now)
    assert not torch.equal(energy(x), now)
    assert [id(p) for p in energy.parameters()] == own


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


def test_the_correction_is_variance_over_mean_square():
    displacement = torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]]], dtype=F64)
    change = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=F64)
    move = Move(displacement, change)
    assert float(step_correction(move)) == pytest.approx(((9 + 4 + 0 + 25) / 3) / (28 / 4))
    labels = torch.tensor([3, 0, 3, 0])  # means 2.5 and 5.5
    want = ((1.5**2 + 3.5**2 + 1.5**2 + 3.5**2) / 2) / (28 / 4)
    assert float(step_correction(move, labels)) == pytest.approx(want)
    assert float(step_correction(move, torch.arange(4))) == 1.0
    assert float(step_correction(Move(0 * displacement, change))) == 1.0
    constant = Move(displacement, torch.ones(4, dtype=F64))
    assert float(step_correction(constant)) == 0.0


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


RUN = ["--objective", "particle", "--chains", "8", "--batch-size", "4", "--langevin-steps", "2",
       "--iterations", "7", "--checkpoint-every", "3", "--ais-steps", "2"]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "rings", "--ema-decay", "0.9", "--step-size-end", "0.001"],
        ["--data", "two-moons", "--conditional", "--particle-move", "beta", "--step-correction",
         "--restart-probability", "0.2", "--compressor", "topk:1"],
    ],
    ids=["alpha", "beta"],
)  # fmt: skip
@pytest.mark.parametrize("iterations", [3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(effebm, tmp_path, options, iterations):
    assert effebm("train", "--out", tmp_path / "whole", *RUN, *options)[0] == 0
    run = tmp_path / "run"
    assert effebm("train", "--out", run, *RUN, *options, stop_after=iterations)[0] == 130
    assert effebm("train", "--resume", run)[0] == 0
    assert result(run) == result(tmp_path / "whole")
    metrics = result(run)[1]
    assert ("step_correction" in metrics[-1]) == ("--step-correction" in options)
    assert len({m["move_rms"] for m in metrics}) == 7


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("data", ["digits", "array"])
def test_the_command_line_trains_on_images_and_arrays(effebm, tmp_path, data, move):
    np.save(tmp_path / "array.npy", normal(40, 3, 2).numpy())
    source = data if data == "digits" else tmp_path / "array.npy"
    flags = ["--data", source, "--particle-move", move, "--step-correction", "--conditional"]
    out = tmp_path / "run"
    status, _, error = effebm("train", *RUN, *flags[: 6 if data == "digits" else 5], "--out", out)
    assert status == 0, error
    assert effebm("sample", out, "--n", 3, "--steps", 2, "--out", tmp_path / "x.npy")[0] == 0
    assert np.isfinite(np.load(tmp_path / "x.npy")).all()


def test_what_is_refused(effebm, tmp_path):
    flags = ["--data", "rings", "--buffer-size", "20", "--out", tmp_path / "run"]
    status, _, error = effebm("train", *RUN, *flags)
    assert (status, "buffer_size: not with objective particle, all of" in error) == (2, True)
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


def test_a_move_to_where_nothing_is_finite_stops_the_run():
    data = Dataset("points", normal(50, 2), False)
    config = TrainConfig(objective="particle", chains=4, langevin_steps=1, batch_size=4)
    trainer = make_trainer(dataclasses.replace(config, learning_rate=1e30), data)
    with pytest.raises(RuntimeError, match="iteration 1: move_rms is nan"):
        trainer.iteration()

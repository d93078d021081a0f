"""The moves of particles with the change of the energy, against closed forms."""

import pytest
import torch
from helpers import normal
from moved_energies import F64, MODULES, MOVES, Shifted, step_along, white
from torch import nn

from effebm_ext.chains.particle_moves import (
    FrozenEnergy,
    Move,
    alpha_move,
    beta_move,
    step_correction,
)
from effebm_ext.networks import MLPEnergy


class Features(nn.Module):
    """E(x) = theta . phi(x), linear in its parameters."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(normal(6, dtype=F64))

    def forward(self, x):
        a, b = x[:, 0], x[:, 1]
        phi = [a.sin(), b.cos(), a * b, a * a, b.square() * b, (a - b).tanh()]
        return torch.stack(phi, 1) @ self.theta


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

"""Weighted walkers: averages and log Z of a model that changes, whatever the drift."""

import math

import pytest
import torch
from helpers import assert_same_bits, normal
from moving_mixture import KEY, LOG_2PI, Mixture, walkers_of

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.objectives import Jarzynski


def alpha(e, g, x, y, h):
    """alpha_k(x, y) of arXiv 2305.19414."""
    return e + (g * (y - x)).sum(1) / 2 + h / 4 * g.square().sum(1)


def energy_and_gradient(energy, x):
    x = x.clone().requires_grad_()
    e = energy(x)
    return e.detach(), torch.autograd.grad(e.sum(), x)[0]


def test_with_the_gradient_the_increments_are_those_of_the_paper():
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.SiLU(), torch.nn.Linear(16, 1)
    ).double()

    def energy(x):
        return net(x)[:, 0] * 10 + x.square().sum(1) / 2

    x0 = normal(50, 6, dtype=torch.float64)
    h = 0.07
    sampler = eff.Langevin(energy, step_size=2 * h)
    walkers = WeightedWalkers(sampler, x0, x0.new_zeros(50), rng=KEY, resample_threshold=0.0)
    before, x = walkers.log_weights.clone(), walkers.walkers.x.clone()
    e_old, g_old = energy_and_gradient(energy, x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    walkers.advance(1)
    y = walkers.walkers.x
    e_new, g_new = energy_and_gradient(energy, y)
    want = alpha(e_old, g_old, x, y, h) - alpha(e_new, g_new, y, x, h)
    torch.testing.assert_close(walkers.log_weights - before, want, rtol=1e-12, atol=1e-12)
    assert want.abs().max() > 0.1
    noise = (y - x + h * g_old) / math.sqrt(2 * h)
    assert float(noise.std()) == pytest.approx(1, abs=0.2)


DRIFTS = {
    "full": {},
    "clipped": {"clip": eff.ClipValue(2.0)},
    "top-k": {"compressor": eff.TopK(4)},
    "block-sign": {"compressor": eff.BlockSign(2)},
}
CASES = [
    *((drift, kind, 0) for drift in DRIFTS for kind in (eff.Langevin, eff.MALA)),
    ("full", eff.Langevin, 500), ("top-k", eff.Langevin, 500), ("block-sign", eff.MALA, 500),
]  # fmt: skip


@pytest.mark.parametrize(("drift", "kind", "moved"), CASES)
def test_log_z_and_averages_of_a_moving_mixture(drift, kind, moved):
    """Eight independent runs; the errors are theirs. Without weights log Z would stay where it was
    at first, 1.6 from where it should be."""
    steps, runs, deviations = 20, 8, []
    for seed in range(runs):
        energy = Mixture(6)
        sampler = kind(energy, step_size=0.1, **DRIFTS[drift])
        walkers = walkers_of(energy, 1500, sampler, seed=seed, moved=moved)
        assert walkers.log_z == pytest.approx(energy.log_z, abs=1e-5)
        for step in range(1, steps + 1):
            energy.move(step / steps)
            walkers.advance(2)
        x = walkers.walkers.x.double()
        seen = torch.stack([x[:, 0], x[:, 0].square(), x[:, 1:].square().mean(1)], 1)
        exact = torch.tensor([-1.2 * math.tanh(0.75), 1.2**2 + 0.7, 0.7])
        log_z_error = torch.tensor([walkers.log_z - energy.log_z])
        deviations.append(torch.cat([log_z_error, walkers.weights @ seen - exact]))
    found = torch.stack(deviations)
    error = found.std(0) / math.sqrt(runs)
    assert bool((error < torch.tensor([0.03, 0.04, 0.06, 0.012])).all()), error
    assert bool((found.mean(0).abs() < 4 * error).all()), (found.mean(0), error)
    assert energy.log_z < Mixture(6).log_z - 1.5


def test_the_gradient_is_that_of_the_exact_cross_entropy():
    """Of a Gaussian whose mean and precision have just moved, against log Z by autograd."""

    class Gaussian(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.nn.Parameter(torch.zeros(3))
            self.log_precision = torch.nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return (self.log_precision.exp() * (x - self.mean).square()).sum(1) / 2

    n, energy, data = 20_000, Gaussian(), normal(400, 3, seed=5) + 1
    x0 = normal(n, 3, seed=6)
    log_density = -x0.double().square().sum(1) / 2 - 1.5 * LOG_2PI
    sampler = eff.Langevin(energy, step_size=0.2, compressor=eff.TopK(1))
    walkers = WeightedWalkers(sampler, x0, log_density, rng=KEY)
    with torch.no_grad():
        energy.mean += torch.tensor([0.3, 0.0, -0.2])
        energy.log_precision += torch.tensor([0.2, -0.2, 0.1])
    walkers.advance(2)
    objective = Jarzynski(energy, walkers, langevin_steps=2)
    loss, metrics = objective.loss(data, {})
    found = torch.autograd.grad(loss, list(energy.parameters()))
    log_z = 1.5 * LOG_2PI - energy.log_precision.sum() / 2
    cross_entropy = log_z + energy(data).mean()
    want = torch.autograd.grad(cross_entropy, list(energy.parameters()))
    effective = walkers.ess
    for name, got, exact, scale in zip(
        ("mean", "log_precision"), found, want, (1.0, math.sqrt(0.5)), strict=True
    ):
        # dE/dmean has the precision as its variance, dE/dlog_precision 1/2, under the model
        error = scale * energy.log_precision.detach().exp().sqrt().max() / math.sqrt(effective)
        assert bool(((got - exact).abs() < 4.5 * error).all()), name
        assert exact.abs().max() > 20 * error
    assert float(metrics["log_z"]) == pytest.approx(
        float(log_z.detach()), abs=4.5 / math.sqrt(effective)
    )
    assert float(metrics["cross_entropy"]) == pytest.approx(float(cross_entropy.detach()), abs=0.05)


def test_the_state_is_of_equal_weight():
    energy = Mixture(4)
    walkers = walkers_of(energy, 2000, eff.Langevin(energy, step_size=0.1), resample_threshold=0)
    energy.move(1.0)
    walkers.advance(1)
    x = walkers.walkers.x
    want = walkers.weights @ x.double()
    # systematic resampling of 2000 walkers in their random order
    error = x.double().std(0) / math.sqrt(2000)
    assert bool(((walkers.state.x.double().mean(0) - want).abs() < 4 * error).all())
    assert bool((x.double().mean(0) - want).abs()[0] > 8 * error[0])
    assert walkers.state.residual is None
    assert torch.equal(walkers.walkers.x, x)


@pytest.mark.parametrize("kind", [eff.Langevin, eff.MALA])
@pytest.mark.parametrize("moved", [0, 3])
def test_the_new_state_shares_no_memory_with_the_old(kind, moved):
    """Were x moved in place under the name of the old one, delta and the weights would be wrong."""
    energy = Mixture(4, torch.float64)
    walkers = walkers_of(energy, 8, kind(energy, step_size=0.3), moved=moved, resample_threshold=0)
    before, log_weights = walkers.walkers, walkers.log_weights.clone()
    x, e, drift = before.x.clone(), before.energy.clone(), before.drift.clone()
    energy.move(0.5)
    walkers.advance(1)
    y = walkers.walkers.x
    rows = slice(0, moved or 8)
    assert bool((y[rows] != x[rows]).any())
    if kind is eff.Langevin:
        delta = y - x
        sums = (delta * (drift + walkers.walkers.drift)).sum(1) / 2
        squares = 0.3 / 8 * (drift.square() - walkers.walkers.drift.square()).sum(1)
        want = e - walkers.walkers.energy + sums + squares
        at_rest = e - energy(x).detach()
        want[moved or 8 :] = at_rest[moved or 8 :]
        assert sums[rows].abs().min() > 1e-3
    else:
        want = e - energy(x).detach()
    torch.testing.assert_close(walkers.log_weights - log_weights, want, rtol=0, atol=1e-13)


def test_walkers_take_turns():
    energy = Mixture(4)
    walkers = walkers_of(energy, 7, eff.Langevin(energy, step_size=0.1), moved=3)
    moves = torch.zeros(7)
    for expected in ([0, 1, 2], [3, 4, 5], [6, 0, 1], [2, 3, 4]):
        x = walkers.walkers.x.clone()
        walkers.advance(1)
        moved = (walkers.walkers.x != x).any(1)
        assert moved.nonzero()[:, 0].tolist() == sorted(expected)
        moves += moved
    assert moves.sum() == 12


@pytest.mark.parametrize(
    "compressor", [None, eff.TopK(2), eff.BlockSign(2), eff.RandomK(2)], ids=str
)
@pytest.mark.parametrize("kind", [eff.Langevin, eff.MALA])
def test_saved_walkers_go_on_to_the_bit(compressor, kind):
    def make():
        energy = Mixture(4)
        sampler = kind(energy, step_size=0.2, compressor=compressor)
        return energy, walkers_of(energy, 30, sampler, moved=8, resample_threshold=0.8)

    energy, walkers = make()
    for step in range(5):
        energy.move(step / 10)
        walkers.advance(2)
    saved = walkers.state_dict()
    other, again = make()
    again.load_state_dict(saved)
    for step in range(5, 10):
        for e, w in ((energy, walkers), (other, again)):
            e.move(step / 10)
            w.advance(2)
    assert_same_bits(walkers.walkers.x, again.walkers.x)
    assert_same_bits(walkers.log_weights, again.log_weights)
    assert walkers.log_z == again.log_z
    assert torch.equal(saved["x"], again.state.x) is False
    assert saved["residual"] is None
    assert (saved["step"], saved["energy_kwargs"]) == (10, {})


def test_weights_carry_no_graph():
    energy = Mixture(1)
    x0 = energy.samples(10, 0)
    walkers = WeightedWalkers(eff.Langevin(energy, step_size=0.1), x0, -energy(x0) - energy.log_z)
    walkers.advance(1)
    assert not walkers.log_weights.requires_grad


def test_what_is_refused():
    energy, x0 = Mixture(4), normal(8, 4)

    def make(sampler=None, log_density=None, **options):
        sampler = sampler or eff.Langevin(energy, step_size=0.1)
        log_density = x0.new_zeros(8) if log_density is None else log_density
        return WeightedWalkers(sampler, x0, log_density, **options)

    feedback = eff.Langevin(energy, step_size=0.1, compressor=eff.TopK(1), error_feedback=True)
    with pytest.raises(
        ValueError, match=r"error_feedback: .* random numbers too, and not on the past"
    ):
        make(feedback)
    with pytest.raises(ValueError, match=r"bounds: .* density of the step"):
        make(eff.Langevin(energy, step_size=0.1, bounds=(0, 1)))
    with pytest.raises(ValueError, match=r"sampler: expected an energy, .* got a score"):
        make(eff.Langevin(score=lambda x: -x, step_size=0.1))
    with pytest.raises(ValueError, match=r"sampler: expected temperature 1, got 0\.5"):
        make(eff.Langevin(energy, step_size=0.1, temperature=0.5))
    with pytest.raises(ValueError, match=r"log_density: expected shape \(8,\), got \(7,\)"):
        make(log_density=torch.zeros(7))
    with pytest.raises(ValueError, match="moved: expected 0 to 8, the walkers, got 9"):
        make(moved=9)
    with pytest.raises(
        ValueError, match="resampling: expected systematic, stratified, multinomial"
    ):
        make(resampling="residual")
    with pytest.raises(ValueError, match=r"resample_threshold: expected 0 to 1, got 1\.5"):
        make(resample_threshold=1.5)
    packed = make(eff.MALA(energy, step_size=0.1, compressor=eff.TopK(1)))
    with pytest.raises(KeyError, match="dense"):
        make().load_state_dict(packed.state_dict())
    two = make(eff.MALA(energy, step_size=0.1, compressor=eff.TopK(2)))
    with pytest.raises(ValueError, match=r"drift: expected values \(8, 2\), got \(8, 1\)"):
        two.load_state_dict(packed.state_dict())
    with pytest.raises(ValueError, match=r"n_steps: expected at least 1, got 0"):
        walkers_of(Mixture(1), 4, eff.MALA(Mixture(1), step_size=0.1)).advance(0)

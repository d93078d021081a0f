"""What losses are given by mistake: energies for scores, shapes that would broadcast, no rows."""

import math
import warnings

import numpy as np
import pytest
import torch
from score_problems import DIM, Mixture, data
from torch.testing import assert_close

import effebm_ext as eff
from effebm_ext import losses
from effebm_ext.chains.intermittent import IntermittentChains
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.energies import score_of
from effebm_ext.losses import contrastive_divergence
from effebm_ext.networks import MLPEnergy
from effebm_ext.objectives import ScoreMatching

KEY = eff.Key(7)
OPTIONS = {"dsm": {"sigma": 0.5}, "fd_dsm": {"sigma": 0.5}}
OF_SCORES = ["sm", "ssm", "ssm_vr", "dsm", "fd_ssm_vr"]
OF_ENERGIES = ["fd_ssm", "fd_dsm"]
ALL = OF_SCORES + OF_ENERGIES


def call(name, network, x, **options):
    noise = {} if name == "sm" else {"rng": KEY}
    return getattr(losses, name)(network, x, **OPTIONS.get(name, {}) | noise | options).loss


def energy(x):
    """Of N(0, I)."""
    return x.flatten(1).square().sum(1) / 2


def right(name):
    return energy if name in OF_ENERGIES else score_of(energy)


@pytest.mark.parametrize("name", OF_SCORES)
@pytest.mark.parametrize(
    ("wrong", "shape"),
    [
        (energy, "(40,)"),
        (lambda x: energy(x)[:, None], "(40, 1)"),
        (lambda x: x[:, :1], "(40, 1)"),
        (lambda x: torch.cat([x, x[:, :1]], 1), "(40, 6)"),
        (lambda x: -x[:, None], "(40, 1, 5)"),
    ],
    ids=["energy", "column", "narrow", "wide", "axis"],
)
def test_what_is_no_score_is_refused(name, wrong, shape):
    with pytest.raises(ValueError, match="score: expected the shape of x, ") as error:
        call(name, wrong, data())
    text = str(error.value)
    assert text.startswith(f"score: expected the shape of x, (40, 5), got {shape}. This loss takes")
    assert "effebm_ext.energies.score_of(energy)" in text


@pytest.mark.parametrize("name", ["sm", "ssm", "ssm_vr", "dsm"])
def test_a_transposed_score_is_refused(name):
    with pytest.raises(ValueError, match=r"score: .* \(40, 5\), got \(5, 40\)"):
        call(name, lambda x: -x.T, data())


@pytest.mark.parametrize(("name", "instead"), [("fd_ssm", "fd_ssm_vr"), ("fd_dsm", "dsm")])
@pytest.mark.parametrize("concatenated", [True, False])
def test_a_score_is_no_energy(name, instead, concatenated):
    with pytest.raises(ValueError, match="energy: expected one value per row") as error:
        call(name, torch.neg, data(), concatenated=concatenated)
    assert str(error.value) == (
        "energy: expected one value per row, shape (40,) or (40, 1), got (40, 5). "
        f"This loss takes an energy; {instead} takes a score"
    )


@pytest.mark.parametrize("name", OF_SCORES)
def test_in_one_dimension_energies_without_an_axis_are_told(name):
    """(n, 1) is the shape of energies and of scores there, which the docstrings say."""
    x = data()[:, :1]
    with pytest.raises(ValueError, match=r"score: .* \(40, 1\), got \(40,\)"):
        call(name, energy, x)
    assert call(name, score_of(energy), x).isfinite()


@pytest.mark.parametrize("name", ALL)
def test_networks_that_write_into_their_argument_are_refused(name):
    def writing(x):
        x.div_(2)
        return right(name)(x)

    with pytest.raises((ValueError, RuntimeError), match=r"leaves its argument|leaf Variable"):
        call(name, writing, torch.ones(40, 5))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(0, 5), (4, 0), ()])
def test_data_without_rows_or_elements_are_refused(name, shape):
    with pytest.raises(ValueError, match=r"x: expected data .* of at least one row and one"):
        call(name, right(name), torch.zeros(shape))


@pytest.mark.parametrize("name", ALL)
def test_integers_are_no_data_and_no_values(name):
    with pytest.raises(TypeError, match=r"x: expected floating-point data, got torch\.int64"):
        call(name, right(name), torch.ones(3, 2, dtype=torch.int64))
    what = "energy" if name in OF_ENERGIES else "score"
    with pytest.raises(TypeError, match=f"{what}: expected a floating-point tensor, got torch.in"):
        call(name, lambda x: right(name)(x).long(), data())


@pytest.mark.parametrize("name", ["dsm", "fd_dsm"])
@pytest.mark.parametrize("bad", [0.0, -0.5, math.nan, math.inf])
def test_scales_are_checked_whatever_they_come_in(name, bad):
    x, network = data(), right(name)
    rows = torch.full((40,), 0.5, dtype=torch.float64)
    rows[3] = bad
    for sigma in (bad, np.float32(bad), np.array(bad), torch.tensor(bad), rows):
        with pytest.raises(ValueError, match=f"sigma: expected .* > 0, got {bad}"):
            call(name, network, x, sigma=sigma)
    for base_sigma in (bad, np.float32(bad), torch.tensor(bad)):
        with pytest.raises(ValueError, match=f"base_sigma: expected .* > 0, got {bad}"):
            call(name, network, x, base_sigma=base_sigma)
    with pytest.raises(ValueError, match=r"sigma: .* got shape \(40, 1\)"):
        call(name, network, x, sigma=torch.full((40, 1), 0.5))
    for sigma in ("0.5", True, [0.5]):
        with pytest.raises(TypeError, match="sigma: expected a number, got"):
            call(name, network, x, sigma=sigma)


@pytest.mark.parametrize("name", ["dsm", "fd_dsm"])
@pytest.mark.parametrize("bad", [0.0, -0.5, math.inf])
def test_scales_that_are_not_looked_at_give_nan(name, bad, monkeypatch):
    """As on a GPU, where a look would make the host wait."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    sigma = torch.full((40,), 0.5)
    x = data().float()
    want = call(name, right(name), x, sigma=sigma)
    sigma[3] = bad
    assert want.isfinite()
    assert call(name, right(name), x, sigma=sigma).isnan()


@pytest.mark.parametrize("name", ["dsm", "fd_dsm"])
def test_numbers_of_every_kind_give_one_loss(name):
    x, network = data(), right(name)
    want = call(name, network, x, sigma=0.25, base_sigma=0.5)
    numbers = [np.float32, np.float64, np.array, torch.tensor]
    for kind in numbers:
        found = call(name, network, x, sigma=kind(0.25), base_sigma=kind(0.5))
        assert torch.equal(found, want)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for sigma in (torch.tensor(0.25, dtype=dtype), torch.full((40,), 0.25, dtype=dtype)):
            assert_close(call(name, network, x, sigma=sigma, base_sigma=0.5), want)
    one = call(name, network, x, sigma=1)
    assert torch.equal(call(name, network, x, sigma=torch.tensor(1)), one)


@pytest.mark.parametrize("name", ["dsm", "fd_dsm"])
def test_scales_of_16_bits_do_not_underflow(name):
    # sigma^4 of 0.01 is 0 in float16, and so the loss was
    sigma = torch.tensor(0.01, dtype=torch.float16)
    x = data().float()
    found = call(name, right(name), x, sigma=sigma)
    assert_close(found, call(name, right(name), x, sigma=float(sigma)))
    assert found > 0


@pytest.mark.parametrize("name", ["fd_ssm", "fd_ssm_vr", "fd_dsm"])
def test_epsilon_of_every_kind(name):
    want = call(name, right(name), data(), epsilon=0.25)
    for epsilon in (np.float32(0.25), np.array(0.25), torch.tensor(0.25)):
        assert torch.equal(call(name, right(name), data(), epsilon=epsilon), want)
    with pytest.raises(TypeError, match="epsilon: expected a number, got list"):
        call(name, right(name), data(), epsilon=[0.1])


@pytest.mark.parametrize("name", ALL)
def test_networks_under_autocast_give_losses_of_float32(name):
    network = MLPEnergy((DIM,), width=64)
    x = data(64).float()

    def narrow_score(x):
        """Of 16 bits, as a score network's is; that of an energy has x's type."""
        return score_of(network)(x).bfloat16()

    wide = network if name in OF_ENERGIES else score_of(network)
    under = network if name in OF_ENERGIES else narrow_score
    options = {"epsilon": 1.0} if name.startswith("fd") else {}
    want = call(name, wide, x, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bfloat16 is too coarse for a second difference
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen = network(x)
            found = call(name, under, x, **options)
    assert seen.dtype == torch.bfloat16
    assert found.dtype == want.dtype == torch.float32
    tolerance = 0.5 if name == "fd_ssm" else 0.05
    assert_close(found, want, rtol=tolerance, atol=tolerance)


def test_energies_of_any_shape_and_weights_give_one_loss():
    column, weights = torch.arange(4.0)[:, None], torch.tensor([0.1, 0.2, 0.3, 0.4])
    for data_energy in (torch.zeros(8), torch.zeros(8, 1)):
        for samples in (column, column[:, 0]):
            assert contrastive_divergence(data_energy, samples).loss == -1.5
            got = contrastive_divergence(data_energy, samples, weights=weights)
            assert_close(got.loss, torch.tensor(-2.0))
            assert_close(got.energy_gap, torch.tensor(2.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_energy": torch.zeros(0)}, r"data_energy: expected energies .* got shape \(0,\)"),
        ({"sample_energy": torch.zeros(0, 1)}, r"sample_energy: .* got shape \(0, 1\)"),
        ({"data_energy": torch.zeros(())}, r"data_energy: .* got shape \(\)"),
        ({"sample_energy": torch.zeros(4, 3)}, r"sample_energy: .* got shape \(4, 3\)"),
        ({"weights": torch.full((4, 1), 0.25)}, r"weights: .* shape \(4,\), got \(4, 1\)"),
        ({"weights": torch.ones(())}, r"weights: .* shape \(4,\), got \(\)"),
        ({"weights": torch.full((8,), 0.125)}, r"weights: .* shape \(4,\), got \(8,\)"),
        ({"weights": torch.ones(4)}, "weights: expected a sum of one, got 4"),
        ({"weights": torch.zeros(4)}, "weights: expected a sum of one, got 0"),
        ({"energy_l2": -0.1}, "energy_l2: expected a finite number >= 0, got -0.1"),
        ({"energy_l2": math.nan}, "energy_l2: expected a finite number >= 0, got nan"),
    ],
)
def test_energies_and_weights_that_do_not_fit_are_refused(change, message):
    arguments = {"data_energy": torch.zeros(8), "sample_energy": torch.arange(4.0), **change}
    with pytest.raises(ValueError, match=message):
        contrastive_divergence(**arguments)


def test_energies_of_16_bits_are_averaged_in_float32():
    wide = 1000 + torch.arange(64.0) * 8  # numbers that bfloat16 has
    narrow = wide.bfloat16()
    assert torch.equal(narrow.float(), wide)
    for weights in (None, torch.full((64,), 1 / 64, dtype=torch.float64)):
        options = {"energy_l2": np.float32(0.001), "weights": weights}
        want = contrastive_divergence(wide + 3, wide, **options)
        got = contrastive_divergence(wide + 3, narrow, **options)
        assert got.loss.dtype == torch.float32
        assert_close(got, want, rtol=0, atol=0)
    with pytest.raises(TypeError, match="data_energy: expected a floating-point tensor, got tor"):
        contrastive_divergence(torch.zeros(3, dtype=torch.int64), wide)


def test_squared_energies_pull_the_precision_of_a_gaussian():
    """Two rows that have the second and the fourth moment of |x| of N(0, I)."""
    d, energy_l2 = 64, 0.001
    a = energy_l2 * (d + 2)
    learnt = (math.sqrt(1 + 4 * a * (1 - a)) - 1) / (2 * a)  # a l^2 + l - (1 - a) = 0
    assert learnt == pytest.approx(0.883, abs=5e-4)
    squares = d + torch.tensor([1.0, -1.0], dtype=torch.float64) * math.sqrt(2 * d)

    def gradient(value, constant):
        precision = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        energies = [precision * s / 2 + constant for s in (squares, squares / value)]
        loss = contrastive_divergence(*energies, energy_l2=energy_l2).loss
        return torch.autograd.grad(loss, precision)[0]

    assert abs(gradient(learnt, 0.0)) < 1e-9
    # with the constant that is best, -(1 + lambda) d / 4, it is 0.996
    assert gradient(0.995, -(1 + 0.995) * d / 4) < 0 < gradient(0.997, -(1 + 0.997) * d / 4)


def test_several_scales_learn_what_the_objective_says():
    """Least squares of s = -a y over the scales, for data of N(0, c^2)."""
    c, base, n = 0.7, 0.3, 200_000
    generator = torch.Generator().manual_seed(0)
    x = c * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    scales = torch.linspace(base, 1.2, n, dtype=torch.float64)
    scales = scales[torch.randperm(n, generator=generator)]
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = losses.dsm(lambda y: -slope * y, x, scales, base_sigma=base, rng=KEY).loss
    (first,) = torch.autograd.grad(found, slope, create_graph=True)
    (second,) = torch.autograd.grad(first, slope)
    least = -first.item() / second.item() * base**2  # of a parabola, from its slope at 0
    weighted = 1 / (1 + c**2 * float((scales**-2).mean()))
    mixture = float((scales**2).mean() / (c**2 + (scales**2).mean()))
    assert least == pytest.approx(weighted, rel=0.02)
    assert weighted < 0.8 * mixture  # what the unweighted mixture of the scales would give


@pytest.mark.parametrize(
    ("method", "options", "error", "message"),
    [
        ("fd-dsm", {}, ValueError, "sigma: expected a number > 0 with fd-dsm, got None"),
        ("dsm", {"sigma": 0}, ValueError, "sigma: expected a finite number > 0, got 0"),
        ("dsm", {"sigma": "1"}, TypeError, "sigma: expected a number, got str"),
        ("dsm", {"sigma": 0.3, "sigma_end": 0}, ValueError, "sigma_end: .* got 0"),
        ("fd-ssm", {"epsilon": math.nan}, ValueError, "epsilon: .* got nan"),
    ],
)
def test_the_objective_checks_its_numbers(method, options, error, message):
    sampler = eff.Langevin(Mixture(), step_size=0.1)
    chains = IntermittentChains(PersistentChains(sampler, data()), 1)
    with pytest.raises(error, match=message):
        ScoreMatching(Mixture(), chains, method, key=KEY, langevin_steps=1, **options)


def test_nodes_of_every_kind():
    x, v = data(), data(seed=1)
    want = losses.directional_derivative(Mixture(), x, v, 2)
    nodes = np.array([-1.0, 0.0, 1.0], dtype=np.float32)
    found = losses.directional_derivative(Mixture(), x, v, np.int64(2), nodes)
    assert torch.equal(found, want)

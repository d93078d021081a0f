"""Partition functions and cross-entropies against closed forms."""

import math

import pytest
import torch
from helpers import normal

from effebm_ext.evaluation import (
    Estimate,
    annealed_importance_sampling,
    cross_entropy,
    ess,
    gaussian_base,
    log_mean_exp,
)

MEAN, STD = torch.tensor([1.0, -1.0, 0.0, 2.0]), torch.tensor([0.3, 1.0, 2.0, 0.7])
LOG_Z_GAUSSIAN = float(STD.log().sum()) + 2 * math.log(2 * math.pi)
CENTRES = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.5]])
SHARE, WIDTH = torch.tensor([0.2, 0.5, 0.3]), 0.4
LOG_Z_MIXTURE = math.log(2 * math.pi * WIDTH**2) - 7
WIDE = (torch.zeros(4), torch.full((4,), 2.0))


def generator(seed):
    return torch.Generator().manual_seed(seed)


def gaussian(x):
    return ((x - MEAN) / STD).square().sum(1) / 2


def mixture(x):
    square = (x[:, None] - CENTRES).square().sum(2)
    return 7 - torch.logsumexp(SHARE.log() - square / (2 * WIDTH**2), 1)


def mixture_samples(n, seed):
    component = torch.multinomial(SHARE, n, replacement=True, generator=generator(seed))
    return CENTRES[component] + WIDTH * normal(n, 2, seed=seed + 1)


@pytest.mark.parametrize("seed", range(3))
def test_log_z_of_a_gaussian_within_the_stated_errors(seed):
    samples = MEAN + STD * normal(200, 4, seed=seed)
    ais = annealed_importance_sampling(
        gaussian, samples, WIDE, n_steps=300, n_chains=200, generator=generator(seed)
    )
    assert abs(ais.forward.value - LOG_Z_GAUSSIAN) < 3 * ais.forward.error < 0.25
    assert abs(ais.reverse.value - LOG_Z_GAUSSIAN) < 3 * ais.reverse.error < 0.25
    assert min(ais.ess_forward, ais.ess_reverse) > 100
    assert 0.5 < ais.acceptance < 0.65


@pytest.mark.parametrize("seed", range(3))
def test_log_z_of_a_mixture_within_the_stated_errors(seed):
    samples = mixture_samples(200, seed)
    ais = annealed_importance_sampling(
        mixture, samples, gaussian_base(samples), n_steps=200, n_chains=200,
        generator=generator(seed),
    )  # fmt: skip
    assert abs(ais.forward.value - LOG_Z_MIXTURE) < 3 * ais.forward.error < 0.12
    assert abs(ais.reverse.value - LOG_Z_MIXTURE) < 3 * ais.reverse.error < 0.12


def test_errors_are_of_the_right_size():
    deviations = []
    for seed in range(20):
        samples = MEAN + STD * normal(64, 4, seed=seed)
        ais = annealed_importance_sampling(
            gaussian, samples, WIDE, n_steps=100, n_chains=64, generator=generator(seed)
        )
        for estimate in (ais.forward, ais.reverse):
            deviations.append((estimate.value - LOG_Z_GAUSSIAN) / estimate.error)
    assert 0.75 < torch.tensor(deviations).std() < 1.35


def test_even_a_few_temperatures_are_unbiased_and_bracket_log_z_on_average():
    def estimates(n_chains, seed):
        ais = annealed_importance_sampling(
            gaussian, MEAN + STD * normal(n_chains, 4, seed=seed), (MEAN + STD, 1.2 * STD),
            n_steps=2, n_chains=n_chains, generator=generator(seed),
        )  # fmt: skip
        return ais.forward, ais.reverse

    for estimate in estimates(20_000, 0):
        assert abs(estimate.value - LOG_Z_GAUSSIAN) < 3 * estimate.error < 0.15
    few = torch.tensor([[e.value for e in estimates(4, seed)] for seed in range(60)])
    low, high = few.mean(0).tolist()
    assert low < LOG_Z_GAUSSIAN - 0.2
    assert high > LOG_Z_GAUSSIAN + 0.2


def test_a_base_equal_to_the_model_leaves_no_error():
    ais = annealed_importance_sampling(
        gaussian, MEAN.expand(5, 4), (MEAN, STD), n_steps=3, n_chains=5, generator=generator(0)
    )
    assert ais.forward.value == pytest.approx(LOG_Z_GAUSSIAN, abs=1e-5)
    assert ais.reverse.value == pytest.approx(LOG_Z_GAUSSIAN, abs=1e-5)
    assert (ais.ess_forward, ais.ess_reverse) == pytest.approx((5, 5))


def test_samples_are_moved_towards_the_model_and_the_given_ones_left_alone():
    wrong = 4 * normal(200, 4)
    kept = wrong.clone()
    ais = annealed_importance_sampling(
        gaussian, wrong, WIDE, n_steps=1000, n_chains=20, generator=generator(0)
    )
    assert torch.equal(wrong, kept)
    torch.testing.assert_close(ais.samples.std(0), STD, rtol=0.25, atol=0)


def test_a_bounded_density_has_infinite_energies():
    def box(x):  # uniform on [-1, 1]^2
        return torch.where(x.abs().amax(1) <= 1, 0 * x.sum(1), math.inf)

    ais = annealed_importance_sampling(
        box, 2 * torch.rand(200, 2, generator=generator(1)) - 1, (torch.zeros(2), torch.ones(2)),
        n_steps=50, n_chains=200, generator=generator(0),
    )  # fmt: skip
    assert ais.forward.value == pytest.approx(math.log(4), abs=0.25)


def test_the_generator_decides_everything_and_images_are_events_too():
    def run(seed):
        return annealed_importance_sampling(
            lambda x: x.square().flatten(1).sum(1, keepdim=True), normal(6, 1, 3, 3),
            gaussian_base(normal(50, 1, 3, 3)), n_steps=20, n_chains=4, generator=generator(seed),
        )  # fmt: skip

    torch.manual_seed(0)
    first = run(0)
    state = torch.get_rng_state()
    assert run(0).forward == first.forward
    assert run(1).forward != first.forward
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "n_steps, n_chains: expected at least 1, got n_steps=0, n_chains=4"),
        ({"n_chains": 0}, "got n_steps=2, n_chains=0"),
        ({"base": (MEAN[:3], STD)}, r"base: expected mean and std of .* got \(3,\) and \(4,\)"),
        ({"base": (MEAN, 0 * STD)}, "base: expected standard deviations > 0, got 0.0"),
        ({"base": (MEAN, math.inf * STD)}, "base: expected finite values"),
        ({"base": (math.nan * MEAN, STD)}, "base: expected finite values"),
        ({"samples": torch.full((3, 4), math.nan)}, "samples: expected finite values"),
        ({"samples": torch.zeros(0, 4)}, r"samples \(0, 4\)"),
        ({"energy": lambda x: x}, "energy: expected one value per chain"),
        ({"energy": lambda x: x.sum(1) * math.nan}, "expected a finite maximum, got nan"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"energy": gaussian, "samples": torch.zeros(3, 4), "base": (MEAN, STD), **change}
    options = {"n_steps": 2, "n_chains": 4, "generator": generator(0)}
    for name in options.keys() & arguments.keys():
        options[name] = arguments.pop(name)
    with pytest.raises(ValueError, match=message):
        annealed_importance_sampling(**arguments, **options)


def test_the_base_has_a_floor():
    data = torch.stack([torch.ones(100), normal(100)], 1)
    mean, std = gaussian_base(data)
    torch.testing.assert_close(mean, data.mean(0))
    assert std[0] == pytest.approx(0.05 * float(data.std(correction=0)))
    assert std[1] == data[:, 1].std(correction=0)
    assert gaussian_base(torch.ones(3, 2))[1].tolist() == [1, 1]
    for bad in (torch.ones(0, 2), torch.ones(()), torch.tensor([[1.0], [math.nan]])):
        with pytest.raises(ValueError, match="data: expected finite values"):
            gaussian_base(bad)


def test_effective_sample_size_of_weights():
    assert ess(torch.zeros(7)) == pytest.approx(7)
    assert ess(torch.tensor([0.0, -math.inf])) == 1
    assert ess(torch.tensor([1000.0, 1000 + math.log(3)], dtype=torch.float64)) == pytest.approx(
        16 / 10
    )


def test_log_mean_exp_and_its_error():
    weights = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    got = log_mean_exp(weights.log() - 900)
    assert got.value == pytest.approx(math.log(3) - 900)
    assert got.error == pytest.approx(float(weights.std()) / 3 / math.sqrt(3))
    assert log_mean_exp(torch.zeros(1)) == (0, math.inf)


@pytest.mark.parametrize(
    ("log_weights", "message"),
    [
        (torch.zeros(0), r"expected shape \(n,\), n >= 1, got \(0,\)"),
        (torch.zeros(2, 2), r"got \(2, 2\)"),
        (torch.tensor([0.0, math.nan]), "expected a finite maximum, got nan"),
        (torch.full((2,), -math.inf), "expected a finite maximum, got -inf"),
    ],
)
@pytest.mark.parametrize("function", [ess, log_mean_exp])
def test_bad_weights_are_refused(function, log_weights, message):
    with pytest.raises(ValueError, match=f"log_weights: .*{message}"):
        function(log_weights)


def test_cross_entropy_adds_both_errors():
    energies = torch.tensor([1.0, 2.0, 6.0])
    got = cross_entropy(Estimate(5.0, 0.3), energies)
    assert got.value == pytest.approx(8)
    assert got.error == pytest.approx(math.hypot(0.3, float(energies.std()) / math.sqrt(3)))
    for bad in (torch.zeros(0), torch.tensor([math.inf, 0]), torch.zeros(2, 1)):
        with pytest.raises(ValueError, match="data_energies: expected finite values"):
            cross_entropy(Estimate(5.0, 0.3), bad)

"""Bennett's acceptance ratio against closed forms, the likelihood and repeats."""

import math

import pytest
import torch
from helpers import normal

from effebm_ext.evaluation import annealed_importance_sampling, bennett, log_mean_exp

TRUE = 3.0


def works(n, m, std, seed):
    """Log weights with normal laws, which agree with each other if log(Z_1 / Z_0) is TRUE."""
    x = normal(n + m, seed=seed, dtype=torch.float64)
    return TRUE - std**2 / 2 + std * x[:n], -TRUE - std**2 / 2 + std * x[n:]


def negative_log_likelihood(d, forward, reverse):
    ratio = math.log(len(forward) / len(reverse))
    softplus = torch.nn.functional.softplus
    return float(softplus(forward - d - ratio).sum() + softplus(reverse + d + ratio).sum())


@pytest.mark.parametrize(("n", "m"), [(200, 200), (300, 40), (7, 90)])
@pytest.mark.parametrize("std", [0.3, 2.0, 5.0])
def test_it_maximises_the_likelihood_of_the_directions(n, m, std):
    forward, reverse = works(n, m, std, seed=n)
    best = bennett(forward, reverse).value
    least = negative_log_likelihood(best, forward, reverse)
    for away in (-1e-4, 1e-4):
        assert negative_log_likelihood(best + away, forward, reverse) > least


def test_two_paths_each_way_by_hand():
    # sigmoid(a - C) + sigmoid(-a - C) = 2 sigmoid(b + C) is symmetric for b = 0: C = 0
    got = bennett(torch.tensor([math.log(3), -math.log(3)]), torch.zeros(2))
    assert got.value == pytest.approx(0, abs=1e-7)
    information = 2 * 3 / 16 + 2 / 4
    assert got.error == pytest.approx(math.sqrt(1 / information - 1), rel=1e-6)


def test_weights_that_agree_exactly_leave_no_error():
    for n, m in ((3, 3), (2, 11)):
        got = bennett(torch.full((n,), 1.5), torch.full((m,), -1.5))
        assert got == pytest.approx((1.5, 0), abs=1e-7)


@pytest.mark.parametrize(("n", "m"), [(64, 64), (120, 20), (20, 120)])
@pytest.mark.parametrize("std", [0.5, 2.0])
def test_the_error_is_the_spread_over_repeats(n, m, std):
    found = torch.tensor([bennett(*works(n, m, std, seed=s)) for s in range(400)])
    deviations, errors = found[:, 0] - TRUE, found[:, 1]
    spread = float(deviations.std())
    assert abs(deviations.mean()) < 4 * spread / 20
    assert float(errors.square().mean().sqrt()) == pytest.approx(spread, rel=0.14)  # 4 / sqrt(800)


def test_it_is_better_than_either_direction_and_their_middle():
    squares = torch.zeros(4, dtype=torch.float64)
    for seed in range(200):
        forward, reverse = works(100, 25, 2.0, seed)
        both = log_mean_exp(forward).value, -log_mean_exp(reverse).value
        found = [bennett(forward, reverse).value, *both, sum(both) / 2]
        squares += (torch.tensor(found, dtype=torch.float64) - TRUE) ** 2
    assert squares.argmin() == 0
    assert squares[1:].min() > 1.5 * squares[0]


def test_exchanged_directions_change_the_sign_only():
    forward, reverse = works(50, 80, 2.0, seed=0)
    there, back = bennett(forward, reverse), bennett(reverse, forward)
    assert there == pytest.approx((-back.value, back.error), rel=1e-12)


def test_constants_shift_the_estimate_however_large():
    forward, reverse = works(50, 80, 2.0, seed=0)
    near, far = bennett(forward, reverse), bennett(forward + 1e6, reverse - 1e6)
    assert far == pytest.approx((near.value + 1e6, near.error), rel=1e-9)


def test_paths_that_cannot_be_gone_back_count_as_paths():
    """Half of the mass of 0 lies where 1 has none, so Z_1 / Z_0 is 1/2."""
    forward = torch.tensor([0.0, -math.inf] * 40)
    got = bennett(forward, torch.zeros(50))
    assert got.value == pytest.approx(-math.log(2), abs=1e-7)
    # the binomial error of how many of the 80 can be gone back
    assert got.error == pytest.approx(math.sqrt((1 - 1 / 2) / (1 / 2) / 80), rel=1e-6)
    gone = bennett(torch.zeros(50), forward)
    assert gone == pytest.approx((math.log(2), got.error), rel=1e-6)


@pytest.mark.parametrize("apart", [20.0, 2000.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_directions_without_overlap_have_a_large_error(apart, sign):
    weights = torch.full((100,), sign * apart / 2)
    got = bennett(weights + TRUE, weights - TRUE)
    assert got.value == pytest.approx(TRUE, abs=1e-6)
    assert got.error > apart / 2


def test_an_error_above_ten_nats_is_not_known():
    for apart, finite in ((18.0, True), (30.0, False)):
        weights = torch.full((100,), -apart / 2)
        error = bennett(weights, weights).error
        assert math.isfinite(error) == finite
        assert error > 6


def test_one_path_has_no_error():
    for sizes in ((1, 5), (5, 1)):
        assert math.isinf(bennett(*map(torch.zeros, sizes)).error)


@pytest.mark.parametrize("name", ["forward_log_weights", "reverse_log_weights"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(0), r"expected shape \(n,\), n >= 1, got \(0,\)"),
        (torch.zeros(2, 2), r"got \(2, 2\)"),
        (torch.tensor([0.0, math.nan]), "expected a finite maximum, got nan"),
        (torch.tensor([0.0, math.inf]), "expected a finite maximum, got inf"),
        (torch.full((2,), -math.inf), "expected a finite maximum, got -inf"),
    ],
)
def test_bad_weights_are_refused_by_name(name, bad, message):
    arguments = {"forward_log_weights": torch.zeros(3), "reverse_log_weights": torch.zeros(3)}
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        bennett(**arguments | {name: bad})


def test_annealing_gives_it_with_the_volume_of_the_base():
    std = torch.tensor([0.3, 1.0, 2.0])
    want, deviations = float(std.log().sum()) + 1.5 * math.log(2 * math.pi), []
    for seed in range(20):
        ais = annealed_importance_sampling(
            lambda x: (x / std).square().sum(1) / 2, std * normal(40, 3, seed=seed),
            (torch.zeros(3), torch.full((3,), 2.0)), n_steps=50, n_chains=64,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        deviations.append((ais.bennett.value - want) / ais.bennett.error)
        assert ais.bennett.error < min(ais.forward.error, ais.reverse.error)
    assert abs(sum(deviations) / 20) < 1
    assert 0.6 < torch.tensor(deviations).std() < 1.5

"""R-hat, effective sample sizes and autocorrelation times against ArviZ and against theory."""

import json
import math

import pytest
import torch
from arviz_reference import FILE, trajectories
from helpers import normal

import effebm_ext as eff
from effebm_ext.evaluation import (
    bulk_ess,
    effective_sample_size,
    integrated_autocorrelation_time,
    split_r_hat,
    tail_ess,
)

REFERENCE = json.loads(FILE.read_text())["values"]
CHAINS = {name: torch.tensor(x, dtype=torch.float64) for name, x in trajectories().items()}
OF = {
    "r_hat": split_r_hat,
    "identity": effective_sample_size,
    "bulk": bulk_ess,
    "tail": tail_ess,
}
ALL = [*OF.values(), integrated_autocorrelation_time]


@pytest.mark.parametrize("name", REFERENCE)
def test_the_figures_are_those_of_arviz(name):
    for figure, want in REFERENCE[name].items():
        assert OF[figure](CHAINS[name], chain_axis=0) == pytest.approx(want, rel=1e-9), figure


def test_the_reference_has_all_chains_and_figures():
    assert list(REFERENCE) == list(CHAINS)
    for name, chains in CHAINS.items():
        assert set(REFERENCE[name]) == set(OF) - ({"r_hat"} if len(chains) == 1 else set())


@pytest.mark.parametrize("function", ALL)
def test_elements_are_judged_one_by_one(function):
    names = [name for name, x in CHAINS.items() if x.shape == (4, 120)] + ["different widths"]
    parts = [CHAINS[name][:, :99] for name in ["independent", "slow", "ties", *names]]
    x = torch.stack([*parts, parts[0].flip(1)], dim=-1).unflatten(-1, (2, -1))  # (4, 99, 2, 3)
    got = function(x, chain_axis=0)
    assert (got.shape, got.dtype) == ((2, 3), torch.float64)
    for i in range(2):
        for j in range(3):
            assert function(x[..., i, j], chain_axis=0) == pytest.approx(float(got[i, j]))
    assert torch.equal(function(x.transpose(0, 1), chain_axis=1), got)


@pytest.mark.parametrize("function", ALL)
def test_constant_elements_and_values_that_are_not_finite_give_nan(function):
    x = 0.1 + normal(4, 30, 4, seed=1).double()
    want = function(x, chain_axis=0)
    x[..., 1] = 0.1  # a number whose mean is rounded
    got = function(x, chain_axis=0)
    assert got.isnan().tolist() == [False, True, False, False]
    if function is not effective_sample_size:  # which refuses them
        x[2, 7, 2], x[0, 0, 3] = math.nan, math.inf
        got = function(x, chain_axis=0)
        assert got.isnan().tolist() == [False, True, True, True]
    assert torch.equal(got[0], want[0])


def test_chains_that_stand_still_at_places_of_their_own():
    x = torch.tensor([0.1, 0.2, 0.4, 0.7])[:, None].expand(4, 40)
    assert split_r_hat(x, chain_axis=0) == math.inf
    for ess in (effective_sample_size, bulk_ess):
        assert 1 < ess(x, chain_axis=0) < 9  # a draw of every half, or of every chain


def test_values_at_a_bound_have_no_upper_tail():
    x = normal(4, 200, seed=2).clamp(max=1.0)
    assert tail_ess(x, chain_axis=0).isnan()
    assert tail_ess(-x, chain_axis=0) > 100
    assert bulk_ess(x, chain_axis=0) > 100


def test_ranks_do_not_see_a_monotone_map():
    x = CHAINS["slow"]
    assert torch.equal(bulk_ess(x.exp(), chain_axis=0), bulk_ess(x, chain_axis=0))
    assert torch.equal(tail_ess(2 * x, chain_axis=0), tail_ess(x, chain_axis=0))


def test_r_hat_sees_means_and_widths_that_differ():
    x = normal(4, 1000, 3, seed=3)
    x[0, :, 1] += 0.5
    x[0, :, 2] *= 2
    fine, mean, width = split_r_hat(x, chain_axis=0).tolist()
    assert fine < 1.01 < min(mean, width)


@pytest.mark.parametrize("coefficient", [0.0, 0.6, -0.4])
def test_the_time_of_an_autoregression(coefficient):
    step_size = 2 * (1 - coefficient)  # a Langevin step on N(0, 1) has this coefficient
    start = normal(8, 20) / math.sqrt(1 - step_size / 4)  # of its stationary law
    run = eff.Langevin(score=torch.neg, step_size=step_size).run(start, 1000, rng=eff.Key(0))
    want = (1 + coefficient) / (1 - coefficient)
    got = integrated_autocorrelation_time(run)
    assert float(got.mean()) == pytest.approx(want, rel=0.1)
    assert torch.equal(got, 8 * 1000 / effective_sample_size(run))
    assert float(split_r_hat(run).max()) < 1.01
    assert float(bulk_ess(run).mean()) == pytest.approx(8 * 1000 / want, rel=0.1)


@pytest.mark.parametrize(
    ("function", "least"),
    [(split_r_hat, 4), (bulk_ess, 8), (tail_ess, 8), (integrated_autocorrelation_time, 4)],
)
def test_draws_that_are_too_few_or_have_no_order_are_refused(function, least):
    x = normal(2, least)
    function(x, chain_axis=0)
    with pytest.raises(ValueError, match=f"one chain and {least} draws of it, got 2 and"):
        function(x[:, 1:], chain_axis=0)
    with pytest.raises(TypeError, match="chain_axis: expected 1 for draws"):
        function(x)

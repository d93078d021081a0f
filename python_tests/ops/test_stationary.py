"""The stationary laws of the chain, against closed forms for the target N(0, I).

Variances are estimated over N independent chains and elements at one moment, or over several
moments far apart; ``tolerance`` covers four standard errors plus the stated bias of the step size.
"""

import math

import pytest
import torch
from scipy import optimize, stats

import effebm_ext as eff

CHAINS, DIM = 32, 1000


def variance(n_steps, step_size, *, start=1.0, error_feedback=False, moments=4, **options):
    x = torch.empty(CHAINS, DIM).normal_(generator=torch.Generator().manual_seed(0)) * start
    residual = torch.zeros_like(x) if error_feedback else None
    key, seen = eff.Key(7), []
    for step in range(n_steps):
        eff.langevin_step_(x, x, step_size, residual=residual, rng=key.at(step), **options)
        if step >= n_steps // 2 and (step + 1) % (n_steps // 2 // moments) == 0:
            seen.append(x.double().square().mean().item())
    return sum(seen) / len(seen)


def topk_variance(ratio):
    """Flat for |x| < tau, proportional to exp(-(x^2 - tau^2) / 2) beyond, m / (tau + m) = ratio."""

    def mills(tau):
        return stats.norm.sf(tau) / stats.norm.pdf(tau)

    tau = optimize.brentq(lambda t: mills(t) / (t + mills(t)) - ratio, 1e-9, 30)
    # integral over x > tau of x^2 exp(-(x^2 - tau^2) / 2) is tau + mills(tau)
    return (tau**3 / 3 + tau + mills(tau)) / (tau + mills(tau))


@pytest.mark.parametrize("step_size", [0.02, 0.2, 1.0])
def test_uncompressed_chain_has_the_variance_of_the_discretised_process(step_size):
    # x <- (1 - g/2) x + sqrt(g) xi has variance 1 / (1 - g/4); standard error 0.8 % / sqrt(moments)
    n_steps = max(400, int(40 / step_size))
    assert variance(n_steps, step_size) == pytest.approx(1 / (1 - step_size / 4), rel=0.02)


def test_closed_form_is_the_one_published():
    assert topk_variance(0.5) == pytest.approx(1.09, abs=0.005)
    assert topk_variance(0.1) == pytest.approx(3.45, abs=0.005)


@pytest.mark.parametrize("ratio", [0.5, 0.1])
def test_plain_topk_flattens_the_top(ratio):
    expected = topk_variance(ratio)
    measured = variance(3000, 0.02, start=math.sqrt(expected), compressor=eff.TopK(ratio=ratio))
    assert measured == pytest.approx(expected, rel=0.03)


def test_plain_block_sign_in_large_blocks_gives_a_laplace_law():
    measured = variance(3000, 0.02, start=math.sqrt(2), compressor=eff.BlockSign(DIM))
    assert measured == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize(
    "compressor", [eff.TopK(ratio=0.1), eff.BlockSign(DIM), eff.BlockSign(64)], ids=str
)
def test_error_feedback_restores_the_variance(compressor):
    uncompressed = variance(3000, 0.02)
    measured = variance(3000, 0.02, compressor=compressor, error_feedback=True)
    assert measured == pytest.approx(uncompressed, rel=0.04)


def test_error_feedback_at_one_percent_leaves_a_quarter():
    # step_size * d / k is 2
    measured = variance(3000, 0.02, compressor=eff.TopK(ratio=0.01), error_feedback=True)
    assert measured == pytest.approx(1.258, rel=0.02)


@pytest.mark.parametrize("temperature", [0.25, 2.0])
def test_temperature_scales_the_variance(temperature):
    sampler = eff.Langevin(score=torch.neg, step_size=0.1, temperature=temperature)
    x = sampler.sample(torch.zeros(CHAINS, DIM), 300, rng=eff.Key(3))
    assert x.var().item() == pytest.approx(temperature / (1 - 0.1 / 4), rel=0.035)


def test_bfloat16_chain_keeps_the_law():
    # a state of 8 bits moves by less than half an ulp in many steps, so the step must not be tiny
    sampler = eff.Langevin(score=torch.neg, step_size=0.5)
    x = sampler.sample(torch.zeros(CHAINS, DIM, dtype=torch.bfloat16), 100, rng=eff.Key(3))
    assert x.float().var().item() == pytest.approx(1 / (1 - 0.5 / 4), rel=0.035)

"""Figures that docs/compression_bias.md and docs/sampling.md state, measured again in small."""

import math

import pytest
import torch
from helpers import normal

import effebm_ext as eff

GAUSSIAN_WALK = 0.5826  # -zeta(1/2) / sqrt(2 pi)


def feedback(precision, compressor, step_size, basis, *, chains, burn_in, duration):
    """A chain with feedback on a Gaussian whose precisions are those of the columns of a basis: per
    chain and direction, the mean of x grad E(x), and of what the identity equates it with. Times
    are in units of the diffusion."""
    hessian = basis * precision @ basis.T
    x = normal(chains, len(precision)) / precision.clamp(min=1e-6).sqrt() @ basis.T
    residual, key = torch.zeros_like(x), eff.Key(0)
    steps, first = round((burn_in + duration) / step_size), round(burn_in / step_size)
    moments, moved = torch.zeros_like(x), torch.zeros_like(x)
    for step in range(steps):
        gradient = x @ hessian
        u = gradient + residual
        if step >= first:
            moments += (gradient @ basis) * (x @ basis)
        eff.langevin_step_(
            x, gradient, step_size, compressor=compressor, residual=residual, rng=key.at(step)
        )
        if step >= first:
            c = (u - residual) @ basis
            moved += (2 * u @ basis - c) * c
    n = steps - first
    return moments / n, 1 + step_size / 4 * moved / n


@pytest.mark.parametrize(
    ("basis", "step_size", "soft", "stiff"),
    [
        ("axes", 0.001, 1.006, 1.055),
        ("axes", 0.003, 1.017, 1.163),
        ("random", 0.001, 1.002, 1.099),
    ],
)
def test_topk_feedback_bias_by_precision(basis, step_size, soft, stiff):
    """It grows with the root of a precision along the axes, and with the precision itself in a
    basis whose directions mix many entries."""
    d, k = 128, 13
    precision, directions = torch.logspace(0, 2, d), torch.eye(d)
    roots = precision.sqrt()
    law = precision
    if basis == "axes":
        law = roots * roots.mean()
    else:
        directions = torch.linalg.qr(normal(d, d, seed=9)).Q
    _, found = feedback(
        precision, eff.TopK(k), step_size, directions, chains=32, burn_in=1.0, duration=4.0
    )
    excess, law = found.mean(0) - 1, step_size * d / (2 * math.pi * k) * law
    for eighth, documented in ((slice(16), soft), (slice(-16, None), stiff)):
        assert excess[eighth].mean() == pytest.approx(documented - 1, rel=0.1)
        assert excess[eighth].mean() == pytest.approx(float(law[eighth].mean()), rel=0.25)


def halves(u):
    """Any compressor may be random: one and a half times a random half of the entries."""
    return 1.5 * u * torch.randint(2, u.shape, generator=halves.generator)


@pytest.mark.parametrize(
    ("compressor", "alive"),
    [(eff.TopK(4), 40), (eff.BlockSign(20), 40), (eff.BlockSign(20), 30), (halves, 40)],
    ids=["topk", "block-sign", "dead entries", "random"],
)
def test_the_identity_in_its_general_form(compressor, alive):
    halves.generator = torch.Generator().manual_seed(1)
    precision = torch.ones(40)
    precision[alive:] = 0  # entries on which the energy does not depend
    direct, identity = feedback(
        precision, compressor, 0.2, torch.eye(40), chains=64, burn_in=20.0, duration=400.0
    )
    blocks = (direct - identity)[:, :alive].unflatten(1, (-1, 10)).mean(2)
    error = blocks.std(0) / 8
    assert (blocks.mean(0).abs() < 4 * error).all()
    assert error.max() < 0.005
    assert identity[:, :alive].mean() > 1.1


def mean_at_wall(step_size, bounds, **options):
    """Of 100 chains of 100 entries on 2 exp(-2x), x > 0, with its standard error."""
    slope = lambda x: torch.full_like(x, -2)  # noqa: E731
    sampler = eff.Langevin(score=slope, step_size=step_size, bounds=bounds, **options)
    start = torch.empty(100, 100).exponential_(2, generator=torch.Generator().manual_seed(0))
    run = sampler.run(start, round(12 / step_size), thin=round(0.5 / step_size), rng=eff.Key(1))
    means = run.trajectory[4:].mean((0, 2))
    return float(means.mean()), float(means.std()) / 10


@pytest.mark.parametrize("step_size", [0.02, 0.005])
def test_a_clamp_biases_by_a_root_and_reflection_linearly(step_size):
    """The target's mean is 0.5. With a clamp the chain is Lindley's recursion, whose mean is that
    of the maximum of a Gaussian walk."""
    clamped, error = mean_at_wall(step_size, (0.0, math.inf))
    expected = 0.5 - GAUSSIAN_WALK * math.sqrt(step_size) + step_size / 4
    assert abs(clamped - expected) < 4 * error < 0.015
    reflected, error = mean_at_wall(step_size, eff.Reflect(0.0, math.inf))
    assert abs(reflected - (0.5 + step_size / 2)) < 4 * error < 0.015


@pytest.mark.parametrize(
    ("bounds", "documented"), [(eff.Reflect(0.0, math.inf), 0.494), ((0.0, math.inf), 0.399)]
)
def test_feedback_at_a_wall(bounds, documented):
    found, error = mean_at_wall(0.02, bounds, compressor=eff.TopK(10), error_feedback=True)
    assert abs(found - documented) < 4 * error < 0.015


def test_bfloat16_chains_lose_moves_below_half_an_ulp():
    def variance(dtype, step_size, n_steps):
        sampler = eff.Langevin(score=torch.neg, step_size=step_size)
        x = sampler.sample(normal(100, 200).to(dtype), n_steps, rng=eff.Key(3))
        return float(x.double().square().mean())

    def lost(dtype, step_size, n_steps):
        """Of the variance, against the same noise in float32."""
        narrow, wide = (variance(t, step_size, n_steps) for t in (dtype, torch.float32))
        return 1 - narrow / wide

    assert lost(torch.bfloat16, 2e-5, 5000) > 0.006  # in a tenth of a unit of time
    assert abs(lost(torch.bfloat16, 0.01, 400)) < 0.003  # in four units
    assert abs(lost(torch.float16, 2e-5, 1000)) < 0.0005


def test_mala_in_light_tails_moves_with_a_bounded_drift():
    def energy(x):
        return x.pow(4).sum(1)

    def states(clip):
        sampler = eff.MALA(energy, step_size=0.6, clip=clip)
        state = sampler.init(torch.full((1000, 2), 2.0), rng=eff.Key(0))
        acceptance = sampler.advance_(state, 20).acceptance
        squares = torch.zeros(1000)
        for _ in range(20):
            sampler.advance_(state, 4)
            squares += state.x.square().mean(1) / 20
        return acceptance, squares, state.x

    acceptance, _, x = states(None)
    assert (acceptance == 0).all()
    assert (x == 2).all()
    acceptance, squares, _ = states(eff.ClipNorm(3.0))
    assert acceptance.mean() > 0.6
    want = math.gamma(0.75) / math.gamma(0.25)  # of x^2 under exp(-x^4)
    assert abs(squares.mean() - want) < 4 * squares.std() / math.sqrt(1000) < 0.03


def test_mala_is_exact_along_a_random_drift_kept_with_the_chain():
    std, generator = torch.tensor([0.5, 1.0, 2.0]), torch.Generator().manual_seed(0)

    def one_of_three(u):
        kept = torch.randint(3, (len(u), 1), generator=generator)
        return torch.zeros_like(u).scatter(1, kept, 3 * u.gather(1, kept))

    def variances(kind):
        sampler = kind(lambda x: (x / std).square().sum(1) / 2, step_size=0.3,
                       compressor=one_of_three)  # fmt: skip
        state = sampler.init(std * normal(2000, 3), rng=eff.Key(2))
        found = torch.zeros(2000, 3)
        for _ in range(30):
            sampler.advance_(state, 4)
            found += (state.x / std).square() / 30
        return found.mean(0), found.std(0) / math.sqrt(2000)

    exact, error = variances(eff.MALA)
    assert ((exact - 1).abs() < 4 * error).all()
    assert error.max() < 0.02
    assert variances(eff.Langevin)[0].max() > 1.2

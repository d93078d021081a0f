"""Rankings, the kernel two-sample test and chains' effective sample size against closed forms."""

import math

import numpy as np
import pytest
import torch
from helpers import normal
from sklearn.metrics import roc_auc_score

import effebm_ext as eff
from effebm_ext.evaluation import auroc, effective_sample_size, kernel_two_sample


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auroc_by_pairs_and_by_scikit_learn(levels):
    inside = torch.randint(0, levels, (40,), generator=generator(1)).float()
    outside = torch.randint(levels // 4, levels + 1, (70,), generator=generator(2)).float()
    pairs = outside[:, None] - inside
    by_pairs = ((pairs > 0).double() + (pairs == 0).double() / 2).mean()
    got = auroc(inside, outside)
    assert got == pytest.approx(float(by_pairs), abs=1e-15)
    labels = [0] * 40 + [1] * 70
    assert got == pytest.approx(roc_auc_score(labels, torch.cat([inside, outside])), abs=1e-12)


def test_auroc_at_the_ends():
    low, high = torch.arange(3.0), torch.tensor([3.0, math.inf])
    assert (auroc(low, high), auroc(high, low), auroc(low, low)) == (1, 0, 0.5)
    for bad in (torch.zeros(0), torch.zeros(2, 2), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="scores_in: expected shape"):
            auroc(bad, low)
        with pytest.raises(ValueError, match="scores_out: expected shape"):
            auroc(low, bad)


def test_mmd_is_the_sum_over_pairs():
    x, y = normal(4, 2, seed=1), normal(3, 2, seed=2)

    def mean_kernel(a, b, same):
        values = torch.exp(-(a[:, None] - b).square().sum(2) / (2 * 0.7**2))
        total = values.sum() - values.trace() if same else values.sum()
        return float(total) / (len(a) * (len(b) - same))

    want = mean_kernel(x, x, True) + mean_kernel(y, y, True) - 2 * mean_kernel(x, y, False)
    got = kernel_two_sample(x, y, bandwidth=0.7, generator=generator())
    assert got.mmd2 == pytest.approx(want, abs=1e-6)
    pooled = torch.pdist(torch.cat([x, y]).double())
    free = kernel_two_sample(x[:, None], y[:, None], generator=generator())
    assert free.bandwidth == pytest.approx(float(pooled.median()))


def test_mmd_of_equal_laws_has_mean_zero_and_uniform_p_values():
    trials = [
        kernel_two_sample(
            normal(30, 3, seed=2 * s), normal(50, 3, seed=2 * s + 1), n_permutations=99,
            generator=generator(s),
        )
        for s in range(100)
    ]  # fmt: skip
    mmd2 = torch.tensor([t.mmd2 for t in trials])
    assert abs(mmd2.mean()) < 3 * mmd2.std() / 10
    null = sum(t.null_std for t in trials) / len(trials)
    assert null == pytest.approx(float(mmd2.std()), rel=0.25)
    p = torch.tensor([t.p_value for t in trials])
    assert (p <= 0.1).float().mean() == pytest.approx(0.1, abs=0.09)
    assert (p <= 0.5).float().mean() == pytest.approx(0.5, abs=0.15)


def test_mmd_tells_a_shift_and_a_change_of_shape():
    x = normal(200, 2, seed=1)
    for y in (normal(200, 2, seed=2) + 0.5, 1.6 * normal(200, 2, seed=3)):
        got = kernel_two_sample(x, y, generator=generator())
        assert got.p_value < 0.01
        assert got.mmd2 > 4 * got.null_std


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (normal(1, 2), normal(5, 2), {}, r"x, y: expected .* got \(1, 2\) and \(5, 2\)"),
        (normal(5, 2), normal(5, 3), {}, r"x, y: expected .* got \(5, 2\) and \(5, 3\)"),
        (normal(5, 2), normal(5, 2), {"bandwidth": 0.0}, "bandwidth: .* > 0, got 0"),
        (torch.ones(5, 2), torch.ones(5, 2), {}, "bandwidth: .* > 0, got 0"),
        (normal(5, 2), normal(5, 2), {"n_permutations": 0}, "n_permutations: expected at least 1"),
        (normal(5), normal(5, 1), {}, r"x, y: expected .* got \(5,\) and \(5, 1\)"),
        (torch.tensor(0.0), normal(5), {}, r"x, y: expected .* got \(\) and \(5,\)"),
        (normal(5, 2), normal(5, 2) * math.nan, {"bandwidth": 1.0}, "x, y: expected finite values"),
        (normal(5, 2), normal(5, 2), {"bandwidth": math.inf}, "bandwidth: .* > 0, got inf"),
    ],
)
def test_bad_samples_are_refused(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        kernel_two_sample(x, y, generator=generator(), **options)


def test_samples_without_further_axes_and_numbers_of_every_kind():
    x, y = normal(9, 1, seed=1), normal(7, 1, seed=2)
    want = kernel_two_sample(x, y, bandwidth=0.5, n_permutations=20, generator=generator())
    got = kernel_two_sample(
        x[:, 0], y[:, 0], bandwidth=np.float32(0.5), n_permutations=np.int64(20),
        generator=generator(),
    )  # fmt: skip
    assert got == want


def autoregression(coefficient, n_chains, n_draws, *event, seed=0):
    """x_t = coefficient x_{t-1} + noise, stationary from the start."""
    noise = normal(n_chains, n_draws, *event, seed=seed, dtype=torch.float64)
    x = noise.clone()
    for t in range(1, n_draws):
        x[:, t] = coefficient * x[:, t - 1] + math.sqrt(1 - coefficient**2) * noise[:, t]
    return x


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9, -0.4])
def test_effective_sample_size_of_an_autoregression(coefficient):
    # the integrated autocorrelation time is (1 + a) / (1 - a)
    x = autoregression(coefficient, 8, 4000, 6)
    want = 8 * 4000 * (1 - coefficient) / (1 + coefficient)
    got = effective_sample_size(x, chain_axis=0)
    assert got.shape == (6,)
    assert got.mean() == pytest.approx(want, rel=0.1)
    assert effective_sample_size(x[..., 0], chain_axis=0) == pytest.approx(float(got[0]))
    swapped = x.transpose(0, 1)
    assert torch.equal(effective_sample_size(swapped, chain_axis=np.int64(1)), got)


def test_chains_that_disagree_are_worth_about_one_draw_each():
    x = autoregression(0.0, 4, 1000) + 10 * torch.arange(4.0)[:, None]
    assert 2 < effective_sample_size(x, chain_axis=0) < 8
    same = effective_sample_size(torch.ones(2, 10, 3), chain_axis=0)
    assert same.isnan().all()


@pytest.mark.parametrize("thin", [1, 5])
def test_a_run_is_worth_what_the_theory_says(thin):
    """On N(0, 1) a step is x <- (1 - g/2) x + sqrt(g) xi, an autoregression."""
    step_size, chains, steps, dim = 0.2, 16, 2000, 50
    start = normal(chains, dim) / math.sqrt(1 - step_size / 4)  # of the stationary law
    sampler = eff.Langevin(score=torch.neg, step_size=step_size)
    run = sampler.run(start, steps, thin=thin, rng=eff.Key(0))
    coefficient = (1 - step_size / 2) ** thin
    want = chains * steps / thin * (1 - coefficient) / (1 + coefficient)
    got = effective_sample_size(run)
    assert got.shape == (dim,)
    assert got.mean() == pytest.approx(want, rel=0.1)
    assert torch.equal(effective_sample_size(run.trajectory, chain_axis=1), got)
    exchanged = effective_sample_size(run.trajectory, chain_axis=0)
    assert exchanged.mean() > chains * steps / thin > 3 * want  # more than there are states


def test_a_packed_run_is_replayed():
    sampler = eff.Langevin(score=torch.neg, step_size=0.2, compressor=eff.TopK(2))
    runs = [
        sampler.run(normal(4, 3), 40, thin=2, trajectory=kind, rng=eff.Key(1))
        for kind in ("dense", "packed")
    ]
    want = effective_sample_size(runs[0])
    assert torch.equal(effective_sample_size(runs[1]), want)
    assert torch.equal(effective_sample_size(runs[1].trajectory), want)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (torch.zeros(10), r"draws: expected an axis of chains .* got shape \(10,\)"),
        (torch.zeros(2, 3), "draws: expected at least one chain and 4 draws of it, got 2 and 3"),
        (torch.zeros(0, 5), "got 0 and 5"),
        (torch.tensor([[0.0, 1, 2, math.nan]]), "draws: expected finite values"),
    ],
)
def test_bad_draws_are_refused(draws, message):
    with pytest.raises(ValueError, match=message):
        effective_sample_size(draws, chain_axis=0)


def test_the_axis_of_the_chains_has_to_be_said():
    run = eff.Langevin(score=torch.neg, step_size=0.1).run(torch.zeros(8, 1), 20, rng=eff.Key(0))
    with pytest.raises(TypeError, match=r"chain_axis: expected 1 for draws \(n_draws, n_chains"):
        effective_sample_size(run.trajectory)
    with pytest.raises(TypeError, match="chain_axis: expected none with a run, got 1"):
        effective_sample_size(run, chain_axis=1)
    with pytest.raises(ValueError, match="chain_axis: expected 0 or 1, got 2"):
        effective_sample_size(run.trajectory, chain_axis=2)
    with pytest.raises(TypeError, match="draws: expected a Run, a packed trajectory or a tensor"):
        effective_sample_size(run.trajectory.numpy(), chain_axis=1)
    short = run._replace(trajectory=run.trajectory[:3])
    with pytest.raises(ValueError, match=r"draws: .* 4 draws of it, got 8 and 3"):
        effective_sample_size(short)

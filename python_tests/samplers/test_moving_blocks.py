"""Chains that move a random block at every step: their law, and what keeps it exact."""

import math

import pytest
import torch
from helpers import assert_same_bits, named, normal
from known_laws import LAWS, VARIANCES, gaussian_energy

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.ops.uniforms import uniforms
from effebm_ext.rng import ACCEPTANCE

KEY = eff.Key(3)


def energy(x):
    return x.square().sum(1) / 2


def moments(law, sampler, chains=2500, steps=150):
    state = sampler.init(law.draw(chains), rng=KEY)
    acceptance = sampler.advance_(state, steps).acceptance
    looks = []
    for _ in range(10):
        sampler.advance_(state, 12)
        looks.append(law.moments(state.x))
    per_chain = torch.stack(looks).mean(0)
    return per_chain.mean(0) - 1, per_chain.std(0) / math.sqrt(chains), acceptance


class ForgetsTheBlock(eff.MALA):
    """Wrong: the drift back is that of another block."""

    def _drift(self, gradient, key, step, delta=None):
        return super()._drift(gradient, key, step + 1, delta)


@pytest.mark.parametrize("kind", [eff.MALA, ForgetsTheBlock], ids=named)
@pytest.mark.parametrize("clip", [None, eff.ClipNorm(1.5)], ids=str)
@pytest.mark.parametrize("name", LAWS)
def test_adjusted_blocks_have_the_exact_law(name, clip, kind):
    law = LAWS[name]
    sampler = kind(law.energy, step_size=0.8, compressor=eff.RandomBlock(1), clip=clip)
    off, error, acceptance = moments(law, sampler)
    is_exact = bool((off.abs() < 5 * error).all())
    assert is_exact == (kind is eff.MALA), (off / error).tolist()
    assert acceptance.mean() > 0.2


@pytest.mark.parametrize("clip", [None, eff.ClipNorm(1.5)], ids=str)
def test_blocks_accept_by_the_definition(clip):
    """In plain PyTorch: a Langevin step on the block, there and back."""
    step_size, compressor = 0.9, eff.RandomBlock(2)
    sampler = eff.MALA(gaussian_energy, step_size=step_size, compressor=compressor, clip=clip)
    state = sampler.init(LAWS["gaussian"].draw(400).double(), rng=KEY)

    def gradient(x):
        g = x / VARIANCES
        if clip is None:
            return g
        return g * (clip.limit / g.norm(dim=1, keepdim=True)).clamp(max=1)

    def log_density(x, to, block):
        move = torch.where(block, to - x + step_size / 2 * gradient(x), 0)
        return -move.square().sum(1) / (2 * step_size)

    for step in range(6):
        x, to = state.x.clone(), sampler.propose(state).x
        block = compressor.compress(torch.ones_like(x), rng=KEY.at(step)) != 0
        assert torch.equal(to[~block], x[~block])
        ratio = gaussian_energy(x) - gaussian_energy(to)
        ratio += log_density(to, x, block) - log_density(x, to, block)
        probability = ratio.exp().clamp(max=1)
        info = sampler.advance_(state)
        torch.testing.assert_close(info.acceptance, probability, rtol=1e-9, atol=1e-12)
        moves = uniforms(KEY.at(step), 400, ACCEPTANCE, like=x) < probability
        assert torch.equal(state.x, torch.where(moves[:, None], to, x))
        torch.testing.assert_close(state.drift, gradient(state.x), rtol=1e-13, atol=0)


def test_unadjusted_blocks_have_the_bias_of_the_step_only():
    # Of an entry, x <- (1 - g / 2) x + sqrt(g) xi or nothing: the variance is 1 / (1 - g / 4).
    step_size = 0.4
    sampler = eff.Langevin(energy, step_size=step_size, compressor=eff.RandomBlock(ratio=0.2))
    state = sampler.init(torch.randn(400, 50, generator=torch.Generator().manual_seed(1)), rng=KEY)
    seen = []
    for _ in range(8):
        sampler.advance_(state, 100)
        seen.append(state.x.double().square().mean().item())
    assert sum(seen[2:]) / 6 == pytest.approx(1 / (1 - step_size / 4), rel=0.02)


def test_weights_of_blocks_stay_where_those_of_topk_collapse():
    """The precision goes from 1 to 2 in 100 steps; log Z falls by d / 2 log 2."""
    n, d, steps = 500, 60, 100
    found = {}
    for compressor in (None, eff.RandomBlock(ratio=0.2), eff.TopK(ratio=0.2)):
        precision = torch.ones((), dtype=torch.float64)
        sampler = eff.Langevin(
            lambda x, precision=precision: precision * energy(x),
            step_size=0.1,
            compressor=compressor,
        )
        generator = torch.Generator().manual_seed(1)
        x0 = torch.randn(n, d, generator=generator, dtype=torch.float64)
        log_density = -energy(x0) - d / 2 * math.log(2 * math.pi)
        walkers = WeightedWalkers(sampler, x0, log_density, rng=KEY, resample_threshold=0.0)
        for step in range(steps):
            precision.fill_(1 + (step + 1) / steps)
            walkers.advance(1 if compressor is None else 5)
        exact = d / 2 * math.log(2 * math.pi / 2)
        found[named(compressor)] = abs(walkers.log_z - exact), walkers.ess / n
    full, block, topk = found.values()
    assert block[0] < 0.5
    assert block[1] > 0.5 * full[1]
    assert topk[0] > 2
    assert topk[1] < 0.05


def test_packed_trajectories_give_the_states_back():
    options = {"compressor": eff.RandomBlock(9), "bounds": (-1.5, 1.5)}
    for dtype in (torch.float32, torch.bfloat16):
        sampler = eff.Langevin(
            energy, step_size=0.1, stochastic_rounding=dtype == torch.bfloat16, **options
        )
        x0 = 3 * normal(4, 64, dtype=dtype)  # also beyond the bounds, where entries rest
        dense, packed = (
            sampler.run(x0, 6, thin=2, trajectory=kind, rng=KEY) for kind in ("dense", "packed")
        )
        assert_same_bits(packed.trajectory.replay(), dense.trajectory)
    assert packed.trajectory.nbytes == x0.nbytes + 6 * 4 * (9 * 4 + 8)


def test_shards_and_saved_states_go_on_in_the_same_bits():
    x0, compressor = normal(12, 30), eff.RandomBlock(7)
    for kind in (eff.Langevin, eff.MALA):
        sampler = kind(energy, step_size=0.4, compressor=compressor)
        whole = sampler.sample(x0, 8, rng=KEY)
        parts = [
            sampler.sample(x0[rows], 8, rng=eff.Key(3, first_chain=rows.start))
            for rows in (slice(0, 5), slice(5, 12))
        ]
        assert_same_bits(torch.cat(parts), whole)
        state = sampler.init(x0, rng=KEY)
        sampler.advance_(state, 3)
        again = sampler.init(0 * x0, rng=KEY).loaded(state.state_dict())
        sampler.advance_(again, 5)
        assert_same_bits(again.x, whole)

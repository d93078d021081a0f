"""Pairs of samplers, one of which has CUDA graphs, and what compares their chains."""

import torch
from helpers import assert_same_bits

import effebm_ext as eff
from effebm_ext.networks import MLPEnergy

KEY = eff.Key(2**63 + 5, offset=7, first_chain=11)
EF = {"compressor": eff.BlockSign(2), "error_feedback": True}
CALLS = (1, 22, 3)  # 22 steps are 16, 4 and twice 1


def network(device, n_classes=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MLPEnergy((4,), width=8, depth=2, n_classes=n_classes).to(device)


def quadratic(x, centre=0.0):
    return (x - centre).square().flatten(1).sum(1) / 2


def pair(energy=quadratic, **options):
    """A sampler that is not captured, and one that is."""
    options = {"step_size": 0.1, **options}
    return [eff.Langevin(energy, cuda_graph=c, **options) for c in (False, True)]


def assert_taken(sampler, device):
    assert sampler.captured.taken == ("uncaptured" if device.type == "cpu" else "captured")


def assert_same_info(got, want):
    for name, a, b in zip(want._fields, got, want, strict=True):
        assert (a is None) == (b is None), name
        if b is not None:
            assert_same_bits(*(t.float() if t.dtype == torch.bool else t for t in (a, b)))


def assert_same_state(got, want):
    assert (got.step, got.key) == (want.step, want.key)
    assert_same_bits(got.x, want.x)
    assert (got.residual is None) == (want.residual is None)
    if want.residual is not None:
        assert_same_bits(got.residual, want.residual)


def assert_same_chains(samplers, x0, calls=CALLS, **options):
    """Moves the chains of both samplers by the calls, and compares all that there is."""
    states = [s.init(x0, rng=KEY, **options) for s in samplers]
    for n_steps in calls:
        infos = [s.advance_(state, n_steps) for s, state in zip(samplers, states, strict=True)]
        assert_same_info(infos[1], infos[0])
        assert_same_state(states[1], states[0])
    assert_taken(samplers[1], x0.device)


def harmonic(step):
    return 0.1 / (step + 1)

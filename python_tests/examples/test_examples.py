"""The examples beside their originals, which are written by hand in plain PyTorch."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import assert_same_bits, normal
from scipy.stats import ks_2samp
from torch import nn

import effebm_ext as eff

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import functional
import igebm
import jem
import originals

# A power of two, whose products are exact: the fused step rounds once where a loop rounds twice.
H = 0.25


def quartic(x):
    return (x.square().square() / 4).flatten(1).sum(1)


def logits(x):
    """Of two classes, whose log density is the negative of a quartic."""
    return -quartic(x)[:, None] - torch.tensor([0.5, 1.0])


def test_noiseless_chains_of_igebm_are_those_by_hand():
    torch.manual_seed(0)
    network = nn.Sequential(igebm.network(), nn.Flatten(0))
    options = {"step_size": 16.0, "noise_std": 0.0, "clip": 0.01}
    x = torch.rand(8, 1, igebm.SIZE, igebm.SIZE)
    before = x.clone()
    moved = igebm.move_chains(x, network, 10, **options)
    assert_same_bits(moved, originals.igebm_chains(x, network, 10, **options))
    assert torch.equal(x, before)
    assert ((moved == 0) | (moved == 1)).any()
    assert ((moved > 0) & (moved < 1)).any()


def test_noiseless_chains_of_jem_are_those_by_hand():
    torch.manual_seed(0)
    network, options = jem.network(), {"step_size": 1.0, "noise_std": 0.0}
    x = normal(8, jem.SIZE**2)
    before = x.clone()
    moved = jem.move_chains(x, network, 10, **options)
    assert_same_bits(moved, originals.jem_chains(x, network, 10, **options))
    assert torch.equal(x, before)
    assert not torch.equal(x, moved)


def test_steps_of_the_functional_kernel_are_those_by_hand():
    kernel, original = (of.langevin(quartic, H) for of in (functional, originals))
    state = kernel.init(normal(6, 3))
    for one, other in zip(state, original.init(normal(6, 3)), strict=True):
        assert_same_bits(one, other)
    kept = [part.clone() for part in state]
    key = eff.Key(3, offset=5)
    moved, again = kernel.step(key, state), kernel.step(key, state)
    wanted = eff.langevin_step(state.position, state.gradient, 2 * H, rng=key)
    assert_same_bits(moved.position, wanted)
    for one, other in zip(moved, again, strict=True):
        assert_same_bits(one, other)
    for one, other in zip(state, kept, strict=True):
        assert_same_bits(one, other)


def _igebm(module):
    chains = igebm.move_chains if module is igebm else originals.igebm_chains
    return chains(START, quartic, 6, step_size=0.5, noise_std=0.3, clip=0.2)


def _jem(module):
    chains = jem.move_chains if module is jem else originals.jem_chains
    return chains(START, logits, 6, step_size=0.3, noise_std=0.5)


def _functional(module):
    kernel = module.langevin(quartic, 0.1)
    generator, state = torch.Generator().manual_seed(1), kernel.init(START)
    if module is functional:
        return functional.run(kernel, eff.Key(0), state, 6).position
    for _ in range(6):
        state = kernel.step(generator, state)
    return state.position


START = torch.full((100_000, 1), 0.5)
LAWS = {igebm: _igebm, jem: _jem, functional: _functional}


@pytest.mark.parametrize("example", LAWS, ids=lambda module: module.__name__)
def test_chains_have_the_law_of_those_by_hand(example):
    torch.manual_seed(0)
    ours, by_hand = (LAWS[example](module)[:, 0] for module in (example, originals))
    assert ours.std() > 0.1
    assert ks_2samp(ours, by_hand).pvalue > 1e-3


def test_igebm_learns_its_data(capsys):
    of_data, of_noise = igebm.main(["--quick"])
    assert of_data < of_noise - 0.2
    assert "mean energies: data" in capsys.readouterr().out


def test_jem_learns_its_classes(capsys):
    assert jem.main(["--quick"]) > 0.95
    assert "accuracy on 1000 new images" in capsys.readouterr().out


def test_the_functional_example_samples_its_gaussian(capsys):
    variance, neighbours = functional.main(["--quick"])
    assert variance == pytest.approx(1, abs=0.05)
    assert neighbours == pytest.approx(0.5, abs=0.03)
    assert "covariance of neighbours" in capsys.readouterr().out

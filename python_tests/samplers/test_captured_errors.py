"""What cannot be captured is told apart from what fails, and copies have graphs of their own."""

import copy
import math
import pickle
import warnings

import pytest
import torch
from captured_pairs import (
    EF,
    KEY,
    assert_same_chains,
    assert_same_state,
    harmonic,
    network,
    pair,
    quadratic,
)
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.samplers import StepInfo

pytestmark = pytest.mark.usefixtures("captures")


def waiting(x):
    return quadratic(x) * (1 if float(x.detach().sum()) > 0 else 2)


def copying(x):
    return quadratic(x) + torch.tensor([1.0, 2.0]).to(x.device).sum()


@pytest.mark.parametrize("energy", [waiting, copying])
def test_an_energy_that_waits_is_not_captured(device, energy):
    one, many = pair(energy, **EF)
    x0 = normal(5, 4, device=device)
    states = [s.init(x0, rng=KEY) for s in (one, many)]
    one.advance_(states[0], 22)
    if device.type == "cpu":
        many.advance_(states[1], 22)
    else:
        line = "cuda_graph: the steps are made without, as they were not captured: ."
        with pytest.warns(RuntimeWarning, match=line) as seen:
            many.advance_(states[1], 22)
        assert [w.filename for w in seen] == [__file__]
    assert_same_state(*states)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many.advance_(states[1], 3)
    one.advance_(states[0], 3)
    assert_same_state(*states)
    assert many.captured.taken == "uncaptured"


def test_the_errors_of_an_energy_are_its_own(device):
    sampler = pair(lambda x: x)[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    before = state.clone()
    with pytest.raises(ValueError, match="energy: expected one value per chain"):
        sampler.advance_(state, 4)
    assert_same_state(state, before)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, 1e39, "0.1"])
def test_a_schedule_that_is_not_positive_raises(device, bad):
    sampler = pair(step_size=lambda step: 0.1 if step < 9 else bad)[1]
    state = sampler.init(normal(5, 4, device=device), rng=KEY)
    with pytest.raises((TypeError, ValueError), match="step_size: expected"):
        sampler.advance_(state, 22)


def test_a_stream_that_ends_raises(device):
    for sampler in pair():
        state = sampler.init(normal(5, 4, device=device), rng=eff.Key(1, 2**56 - 3))
        with pytest.raises(ValueError, match="offset: expected"):
            sampler.advance_(state, 4)  # in one replay


def test_copies_capture_their_own_graphs(device, captures):
    sampler = pair(network(device), **EF)[1]
    x0 = normal(5, 4, device=device)
    want = sampler.sample(x0, 5, rng=KEY)
    n = len(captures)
    makers = [copy.deepcopy]
    if device.type == "cpu":  # pickle makes no tensors on the stand-in
        makers.append(lambda s: pickle.loads(pickle.dumps(s)))
    for make in makers:
        same = make(sampler)
        assert same.captured is not sampler.captured
        assert same.captured._programs == {}
        assert_same_bits(same.sample(x0, 5, rng=KEY), want)
    assert len(captures) == 2 * n
    assert "cuda_graph=True" in repr(sampler)


def test_a_copy_with_another_schedule_has_its_own_steps(device):
    sampler = pair()[1]
    other = copy.copy(sampler)
    other.step_size = harmonic
    x0 = normal(5, 4, device=device)
    for _ in range(2):
        for one, size in ((sampler, 0.1), (other, harmonic)):
            want = eff.Langevin(quadratic, step_size=size).sample(x0, 5, rng=KEY)
            assert_same_bits(one.sample(x0, 5, rng=KEY), want)


def test_no_step_is_no_step(device):
    for sampler in pair():
        state = sampler.init(normal(5, 4, device=device), rng=KEY)
        assert sampler.advance_(state, 0) == StepInfo(None)
        assert state.step == 0


def test_other_values_are_refused(device):
    assert_same_chains(pair(), normal(2, 2, device=device))
    with pytest.raises(TypeError, match="cuda_graph: expected True or False, got 1"):
        eff.Langevin(quadratic, step_size=0.1, cuda_graph=1)

"""Groups of chains on threads of their own: the chains and reports are those of one thread."""

import contextlib
import threading
import warnings

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.networks import ConvEnergy, MLPEnergy

KEY = eff.Key(3, offset=5, first_chain=11)
EF = {"compressor": eff.BlockSign(4), "error_feedback": True}


def quadratic(x, centre=0.0):
    return (x - centre).square().flatten(1).sum(1) / 2


def pair(energy=quadratic, shards=3, **options):
    """The same sampler in one group, and in several."""
    options = {"step_size": 0.1, **options}
    return (eff.Langevin(energy, shards=n, **options) for n in (1, shards))


def assert_same_info(got, want):
    for name, a, b in zip(want._fields, got, want, strict=True):
        assert (a is None) == (b is None), name
        if b is not None:
            assert torch.equal(a, b), name


@pytest.mark.parametrize("shards", [2, 3, 7, 100])
@pytest.mark.parametrize(
    "options",
    [
        {},
        EF,
        {"statistics": True, "clip": eff.ClipValue(0.5), "temperature": 0.3},
        {"step_size": torch.linspace(0.01, 0.1, 10), "bounds": (-1, 1)},
        {"step_size": lambda step: 0.1 / (step + 1)},
        {"step_size": lambda step: torch.linspace(0.01, 0.1, 10) / (step + 1)},
        {"compressor": torch.sign, "on_divergence": "restart"},
    ],
    ids=["plain", "feedback", "statistics", "per chain", "schedule", "both", "function"],
)
def test_chains_and_infos_equal_those_of_one_group(shards, options):
    x0 = normal(10, 6)
    states, infos = [], []
    for sampler in pair(shards=shards, **options):
        state = sampler.init(x0, rng=KEY)
        infos.append(sampler.advance_(state, 4))
        infos[-1] = sampler.advance_(state, 3)
        states.append(state)
    assert states[1].step == states[0].step == 7
    assert states[1].key == KEY
    assert_same_bits(states[1].x, states[0].x)
    if states[0].residual is not None:
        assert_same_bits(states[1].residual, states[0].residual)
    assert_same_info(infos[1], infos[0])


def test_samples_and_runs_equal_those_of_one_group():
    x0 = normal(9, 4)
    one, many = pair(**EF)
    assert_same_bits(many.sample(x0, 6, rng=KEY), one.sample(x0, 6, rng=KEY))
    want, got = (s.run(x0, 7, thin=2, rng=KEY) for s in (one, many))
    assert_same_bits(got.x, want.x)
    assert_same_bits(got.trajectory, want.trajectory)
    assert_same_info(got.info, want.info)
    packed = [s.run(x0, 7, thin=2, trajectory="packed", rng=KEY) for s in (one, many)]
    assert_same_bits(packed[1].trajectory.replay(), packed[0].trajectory.replay())
    assert_same_bits(packed[1].x, want.x)


def test_labels_stay_with_their_chains():
    y = torch.arange(10).float()[:, None]
    for n_steps in (0, 5):
        want, got = (
            sampler.sample(normal(10, 1), n_steps, rng=KEY, energy_kwargs={"centre": y})
            for sampler in pair()
        )
        assert_same_bits(got, want)


@pytest.mark.parametrize(
    ("network", "shape"),
    [(MLPEnergy((2,), width=64), (64, 2)), (ConvEnergy((1, 8, 8)), (16, 1, 8, 8))],
)
def test_networks_give_the_same_chains_but_for_rounding(network, shape):
    x0 = normal(*shape)
    want, got = (s.sample(x0, 5, rng=KEY) for s in pair(network, 2, step_size=0.01))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert all(p.grad is None for p in network.parameters())


def test_every_group_has_a_thread_of_its_own_with_one_of_torchs():
    seen, together = set(), threading.Barrier(3, timeout=20)

    def energy(x):
        seen.add((threading.get_ident(), torch.get_num_threads(), len(x)))
        together.wait()  # breaks unless three threads are here at the same time
        return quadratic(x)

    before = torch.get_num_threads()
    sampler = eff.Langevin(energy, step_size=0.1, shards=3)
    sampler.advance_(sampler.init(normal(10, 2)), 2)
    assert {(n, rows) for _, n, rows in seen} == {(1, 3), (1, 4)}
    assert len({thread for thread, *_ in seen}) == 3
    assert torch.get_num_threads() == before


def test_the_callers_modes_hold_on_all_threads():
    seen = []

    def energy(x):
        seen.append((x @ torch.eye(4)).dtype)
        return quadratic(x)

    one, many = pair(energy, 2)
    x0 = normal(6, 4)
    with torch.autocast("cpu"):
        many.sample(x0, 2, rng=KEY)
    assert set(seen) == {torch.bfloat16}
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            got = many.sample(x0, 3, rng=KEY)
        assert_same_bits(got.clone(), one.sample(x0, 3, rng=KEY))


def left(x):
    """Infinite to the left of 0, so that a chain which starts there has diverged."""
    return torch.where(x[:, 0] > 0, quadratic(x), torch.inf)


def test_a_warning_names_the_chain_and_comes_once():
    x0 = torch.ones(8, 2)
    x0[5, 0] = -50
    sampler = eff.Langevin(left, step_size=1e-4, shards=4)
    state = sampler.init(x0, rng=KEY)
    with pytest.warns(RuntimeWarning, match="1 of 2 chains diverged .* of chain 5 is inf") as seen:
        info = sampler.advance_(state, 3)
    assert [w.filename for w in seen] == [__file__]
    assert info.diverged.nonzero().tolist() == [[5]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.advance_(state, 3)


def test_an_error_reaches_the_caller_and_the_threads_go_on():
    x0 = torch.ones(8, 2)
    x0[5, 0] = -50
    threads = torch.get_num_threads()
    sampler = eff.Langevin(left, step_size=1e-4, shards=4, on_divergence="raise")
    for _ in range(2):
        with pytest.raises(eff.NonFiniteError, match="of chain 5 is inf"):
            sampler.sample(x0, 3, rng=KEY)
    assert torch.get_num_threads() == threads
    with contextlib.suppress(eff.NonFiniteError):
        sampler.sample(torch.ones(8, 2), 3, rng=KEY)


@pytest.mark.parametrize("length", [1, 5, 20])
def test_step_sizes_of_other_lengths_are_refused(length):
    for step_size in (torch.ones(length), lambda step: torch.ones(length)):
        sampler = eff.Langevin(quadratic, step_size=step_size, shards=2)
        with pytest.raises(ValueError, match=r"step_size: expected .* or \(10,\), got shape"):
            sampler.sample(torch.ones(10, 2), 2, rng=KEY)


@pytest.mark.parametrize(
    ("shards", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_other_numbers_of_groups_are_refused(shards, error):
    with pytest.raises(error, match="shards: expected"):
        eff.Langevin(quadratic, step_size=0.1, shards=shards)


def test_autograd_learns_that_the_state_was_written():
    sampler = eff.Langevin(quadratic, step_size=0.1, shards=2)
    state = sampler.init(torch.ones(4, 2), rng=KEY)
    weight = torch.ones((), requires_grad=True)
    loss = (weight * state.x).sum()
    sampler.advance_(state, 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()

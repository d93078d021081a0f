"""Persistent chains and the replay buffer: what moves, what begins anew, what is saved."""

import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart

SAMPLER = eff.Langevin(
    lambda x: x.square().sum(1) / 2, step_size=0.1, compressor=eff.TopK(1), error_feedback=True
)
START = normal(10, 3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def restart(probability, seed=1):
    return Restart(probability, lambda n: torch.full((n, 3), 100.0), generator(seed))


def buffer(**options):
    options = {"n_chains": 4, "generator": generator(), "rng": eff.Key(5), **options}
    return ReplayBuffer(SAMPLER, START, **options)


def test_a_buffer_moves_the_chains_it_draws_and_no_others():
    replay = buffer()
    replay.advance(3)
    drawn = torch.randperm(10, generator=generator())[:4]
    want = SAMPLER.init(START[drawn], rng=eff.Key(5))
    SAMPLER.advance_(want, 3)
    assert torch.equal(replay.x, want.x)
    assert torch.equal(replay.buffer.x[drawn], want.x)
    assert torch.equal(replay.buffer.residual[drawn], want.residual)
    others = torch.tensor([i for i in range(10) if i not in drawn.tolist()])
    assert torch.equal(replay.buffer.x[others], START[others])
    assert not replay.buffer.residual[others].any()


def test_residuals_move_with_their_chains():
    replay = buffer(n_chains=10)
    replay.advance(1)
    first, residual = replay.buffer.x.clone(), replay.buffer.residual.clone()
    replay.advance(0)  # another order, no step
    assert torch.equal(replay.buffer.x, first)
    assert torch.equal(replay.buffer.residual, residual)
    order = [int((first == row).all(1).nonzero()) for row in replay.state.x]
    assert order != list(range(10))
    assert torch.equal(replay.state.residual, residual[order])


def test_no_noise_is_used_twice():
    flat = eff.Langevin(lambda x: 0 * x.sum(1), step_size=1.0)
    replay = ReplayBuffer(flat, torch.zeros(50, 3), n_chains=2, generator=generator())
    seen = torch.cat([replay.x.clone() for _ in range(20) if replay.advance(1) is not None])
    moved = replay.buffer.x[replay.buffer.x.abs().sum(1) > 0]
    assert len(torch.unique(moved[:, 0])) == len(moved)
    assert len(seen) == 40


def test_chains_that_begin_anew_lose_their_residual():
    chains = PersistentChains(SAMPLER, START, rng=eff.Key(1), restart=restart(0.5))
    chains.advance(5)
    before = chains.state.clone()
    chosen = torch.rand(10, generator=generator(7)) < 0.5
    chains.restart = restart(0.5, seed=7)
    chains.advance(0)
    assert 0 < int(chosen.sum()) < 10
    assert (chains.x[chosen] == 100).all()
    assert not chains.state.residual[chosen].any()
    assert torch.equal(chains.x[~chosen], before.x[~chosen])
    assert torch.equal(chains.state.residual[~chosen], before.residual[~chosen])
    assert before.residual[chosen].any()


def test_how_many_begin_anew():
    share = Restart(0.05, lambda n: torch.ones(n, 1), generator())
    count = 0
    for _ in range(400):
        state = SAMPLER.init(torch.zeros(100, 1))
        share.apply_(state)
        count += int(state.x.sum())
    assert count / 40_000 == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 40_000) ** 0.5)
    for probability, expected in ((0.0, 0), (1.0, 100)):
        state = SAMPLER.init(torch.zeros(100, 1))
        Restart(probability, lambda n: torch.ones(n, 1), generator()).apply_(state)
        assert int(state.x.sum()) == expected


@pytest.mark.parametrize("make", [buffer, lambda: PersistentChains(SAMPLER, START, rng=eff.Key(5))])
def test_saved_walkers_go_on_to_the_bit(make):
    walkers, again = make(), make()
    walkers.advance(2)
    if isinstance(walkers, ReplayBuffer):
        again.generator.set_state(walkers.generator.get_state())
    again.load_state_dict(walkers.state_dict())
    for _ in range(3):
        walkers.advance(2)
        again.advance(2)
    assert torch.equal(walkers.x, again.x)
    assert torch.equal(walkers.state.residual, again.state.residual)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"n_chains: expected 1 to 10, .* got 11"):
        buffer(n_chains=11)
    with pytest.raises(ValueError, match=r"probability: expected 0 to 1, got 1\.5"):
        restart(1.5)
    replay = buffer()
    with pytest.raises(ValueError, match=r"chains: expected shape \(4, 3\), got \(10, 3\)"):
        replay.load_state_dict({**replay.state_dict(), "x": START})
    with pytest.raises(ValueError, match="residual if and only if"):
        replay.load_state_dict({**replay.state_dict(), "residual": None})


@pytest.mark.parametrize("change", [-1, 1])
def test_functions_that_give_other_numbers_of_starts(change):
    """Rows of a buffer would have no chain, or belong to two."""
    made = [lambda n: torch.zeros(n + change, 3), lambda n: torch.zeros(n + change * (n < 4), 3)]
    for x0, n in zip(made, (4, 2), strict=True):  # at the first call, and at the last
        message = rf"x0: expected .* {n} chains shape \({n}, 3\), got \({n + change}, 3\)"
        with pytest.raises(ValueError, match=message):
            ReplayBuffer(SAMPLER, x0, n_chains=4, size=10, generator=generator())


@pytest.mark.parametrize("shape", [(3,), (10, 1), (1, 3), (10, 3, 1)])
def test_new_starts_are_not_broadcast(shape):
    state = SAMPLER.init(START)
    with pytest.raises(ValueError, match=r"fresh: expected .* shape \(10, 3\), got \("):
        Restart(1.0, lambda n: torch.zeros(shape), generator()).apply_(state)
    state = SAMPLER.init(START, energy_kwargs={"y": torch.arange(10)})
    anew = Restart(
        1.0, lambda n, y: torch.zeros(n, 3), generator(), lambda n: {"y": torch.zeros(1)}
    )
    with pytest.raises(ValueError, match=r"fresh_kwargs: y: .* shape \(10,\), got \(1,\)"):
        anew.apply_(state)
    assert torch.equal(state.x, START)


def test_starts_of_a_buffer_have_one_shape():
    with pytest.raises(ValueError, match=r"x0: expected .* shape \(2, 3\), got \(2, 1\)"):
        ReplayBuffer(
            SAMPLER, lambda n: torch.zeros(n, 3 if n == 4 else 1), n_chains=4, size=10,
            generator=generator(),
        )  # fmt: skip

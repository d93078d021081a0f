"""Energies with labels: in samplers, walkers, networks, training and the command line."""

import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.walkers.persistent import PersistentChains
from effebm_ext.walkers.replay import ReplayBuffer
from effebm_ext.walkers.restart import Restart

CENTRES = torch.tensor([[-5.0, 0.0], [0.0, 5.0], [5.0, 0.0]])
LABELS = torch.arange(10) % 3
START = normal(10, 2)


def centred(x, y, scale=1.0):
    """A Gaussian around the centre of the class."""
    return scale * (x - CENTRES[y]).square().sum(1) / 2


SAMPLER = eff.Langevin(centred, step_size=0.1, compressor=eff.TopK(1), error_feedback=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_energies_and_scores_get_the_keyword_arguments_at_every_step():
    kwargs = {"y": LABELS, "scale": 2.0}
    want = eff.Langevin(lambda x: centred(x, LABELS, 2.0), step_size=0.1)
    given = eff.Langevin(centred, step_size=0.1)
    by_score = eff.Langevin(score=lambda x, y, scale: scale * (CENTRES[y] - x), step_size=0.1)
    for sampler in (given, by_score):
        x = sampler.sample(START, 5, rng=eff.Key(1), energy_kwargs=kwargs)
        torch.testing.assert_close(x, want.sample(START, 5, rng=eff.Key(1)))
    run = given.run(START, 5, rng=eff.Key(1), energy_kwargs=kwargs)
    assert torch.equal(run.trajectory, want.run(START, 5, rng=eff.Key(1)).trajectory)
    state = given.init(START, rng=eff.Key(1), energy_kwargs=kwargs)
    for _ in range(5):
        state, _ = given.step(state)
    assert torch.equal(state.x, run.x)


def test_values_per_chain_are_copied_and_others_are_shared():
    labels, table = LABELS.clone(), torch.zeros(3, 4)
    state = SAMPLER.init(START, energy_kwargs={"y": labels, "table": table, "scale": 2.0})
    assert list(state.values_per_chain()) == ["y"]
    copy = state.clone()
    copy.energy_kwargs["y"][:] = 0
    assert torch.equal(state.energy_kwargs["y"], LABELS)
    assert state.energy_kwargs["y"] is not labels
    assert copy.energy_kwargs["table"] is table
    with pytest.raises(TypeError, match=r"energy_kwargs: expected a mapping .* got Tensor"):
        SAMPLER.init(START, energy_kwargs=LABELS)


def test_labels_made_in_inference_mode_serve_as_well():
    want = SAMPLER.sample(START, 3, rng=eff.Key(0), energy_kwargs={"y": LABELS})
    with torch.inference_mode():
        x = SAMPLER.sample(START, 3, rng=eff.Key(0), energy_kwargs={"y": LABELS.clone()})
    assert torch.equal(x, want)


def test_chains_go_to_their_class():
    x = SAMPLER.sample(START, 300, rng=eff.Key(0), energy_kwargs={"y": LABELS})
    assert torch.equal(torch.cdist(x, CENTRES).argmin(1), LABELS)


def walkers(kind, restart=None):
    options = {"rng": eff.Key(5), "restart": restart, "energy_kwargs": {"y": LABELS}}
    if kind is ReplayBuffer:
        options |= {"n_chains": 4, "generator": generator()}
    return kind(SAMPLER, START, **options)


def anew(probability, seed=1):
    """New chains are far away and of class 2."""
    return Restart(
        probability,
        lambda n: torch.full((n, 2), 100.0),
        generator(seed),
        lambda n: {"y": torch.full((n,), 2)},
    )


def test_labels_move_with_the_chains_of_a_buffer():
    buffer = walkers(ReplayBuffer)
    buffer.advance(3)
    drawn = torch.randperm(10, generator=generator())[:4]
    assert torch.equal(buffer.state.energy_kwargs["y"], LABELS[drawn])
    want = SAMPLER.init(START[drawn], rng=eff.Key(5), energy_kwargs={"y": LABELS[drawn]})
    SAMPLER.advance_(want, 3)
    assert torch.equal(buffer.x, want.x)
    for _ in range(300):
        buffer.advance(3)
    assert torch.equal(buffer.buffer.energy_kwargs["y"], LABELS)
    assert torch.equal(torch.cdist(buffer.buffer.x, CENTRES).argmin(1), LABELS)


@pytest.mark.parametrize("kind", [PersistentChains, ReplayBuffer])
def test_chains_that_begin_anew_draw_new_labels(kind):
    chains = walkers(kind, anew(0.5))
    chains.advance(0)
    new = chains.x[:, 0] == 100
    assert 0 < int(new.sum()) < len(new)
    assert (chains.state.energy_kwargs["y"][new] == 2).all()
    whole = chains.buffer if kind is ReplayBuffer else chains.state
    old = whole.x[:, 0] != 100
    assert (whole.energy_kwargs["y"][~old] == 2).all()
    assert torch.equal(whole.energy_kwargs["y"][old], LABELS[old])
    assert (LABELS[~old] != 2).any()
    assert torch.equal(LABELS, torch.arange(10) % 3)  # the caller's tensor is not written


@pytest.mark.parametrize("kind", [PersistentChains, ReplayBuffer])
def test_saved_walkers_go_on_to_the_bit_with_their_labels(kind):
    chains, again = walkers(kind, anew(0.3)), walkers(kind, anew(0.3))
    for _ in range(4):
        chains.advance(2)
    again.load_state_dict(chains.state_dict())
    again.restart.generator.set_state(chains.restart.generator.get_state())
    if kind is ReplayBuffer:
        again.generator.set_state(chains.generator.get_state())
    assert not torch.equal(chains.state.energy_kwargs["y"], walkers(kind).state.energy_kwargs["y"])
    for _ in range(3):
        chains.advance(2)
        again.advance(2)
    assert torch.equal(chains.x, again.x)
    assert torch.equal(chains.state.energy_kwargs["y"], again.state.energy_kwargs["y"])


def test_saved_walkers_without_labels_are_refused():
    chains = walkers(PersistentChains)
    with pytest.raises(ValueError, match=r"energy_kwargs of the shapes {'y': \(10,\)}, got {}"):
        chains.load_state_dict({**chains.state_dict(), "energy_kwargs": {}})

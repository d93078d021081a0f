"""Energies with labels: in samplers, walkers, networks, training and the command line."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.energies import per_chain
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.model import load_model
from effebm_ext.runs.showing.plotting import draw_samples
from effebm_ext.runs.trainer import make_trainer

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
    """New chains are of class 2, and start far away by their class."""
    return Restart(
        probability,
        lambda n, y: torch.full((n, 2), 50.0) * y[:, None],
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


TINY = TrainConfig(
    data="eight-gaussians", conditional=True, chains=400, langevin_steps=1, iterations=2,
    batch_size=4, compressor="none", holdout=0.0,
)  # fmt: skip


def test_chains_have_labels_as_frequent_as_in_the_data():
    labels = torch.tensor([0, 0, 0, 1] * 100)
    data = Dataset("points", normal(400, 2), False, labels)
    trainer = make_trainer(TINY, data)
    y = trainer.chains.state.energy_kwargs["y"]
    assert y.bincount().tolist() == [300, 100]
    assert not torch.equal(y, y.sort().values)
    config = dataclasses.replace(TINY, restart_probability=1.0)
    trainer = make_trainer(config, data)
    trainer.iteration()
    again = trainer.chains.state.energy_kwargs["y"]
    assert not torch.equal(again, y)
    assert again.float().mean() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 400) ** 0.5)


def test_data_and_chains_meet_the_energy_with_their_own_labels():
    data = load("eight-gaussians")
    trainer = make_trainer(dataclasses.replace(TINY, batch_size=10_000), data)
    energy, seen = trainer.energy, []
    energy.register_forward_pre_hook(
        lambda module, inputs, kwargs: seen.append((inputs[0], kwargs["y"])), with_kwargs=True
    )
    trainer.iteration()
    (_, y_step), (x, y), (chains, y_chains) = seen
    nearest = (torch.atan2(x[:, 1], x[:, 0]) / (torch.pi / 4)).round().long() % 8
    assert torch.equal(nearest, y)
    assert torch.equal(chains, trainer.chains.state.x)
    assert torch.equal(y_chains, trainer.chains.state.energy_kwargs["y"])
    assert torch.equal(y_chains, y_step)


@pytest.mark.parametrize("buffer_size", [0, 900])
@pytest.mark.parametrize("batch_size", [400, 800, 60])
def test_data_have_the_labels_of_the_chains(batch_size, buffer_size):
    config = dataclasses.replace(TINY, batch_size=batch_size, buffer_size=buffer_size)
    trainer = make_trainer(config, load("eight-gaussians"))
    total = torch.zeros(8)
    for _ in range(3):
        trainer.chains.advance(0)
        x, labels = trainer._batch()
        mode = (torch.atan2(x[:, 1], x[:, 0]) / (torch.pi / 4)).round().long() % 8
        assert torch.equal(mode, labels["y"])
        own = trainer.chains.state.energy_kwargs["y"].bincount(minlength=8)
        total += mode.bincount(minlength=8) - own * batch_size / 400
        assert len(x.unique(dim=0)) > 0.9 * batch_size
    if batch_size % 400 == 0:
        assert not total.any()
    assert total.abs().max() < 4 * (3 * batch_size / 8) ** 0.5


def test_conditional_training_without_labels_is_refused():
    with pytest.raises(ValueError, match=r"conditional: expected data with labels"):
        make_trainer(TINY, Dataset("points", normal(400, 2), False))


def test_a_class_that_is_held_out_whole_is_refused():
    labels = torch.zeros(400, dtype=torch.int64)
    labels[7] = 1
    data = Dataset("points", normal(400, 2), False, labels)
    seen = set()
    for seed in range(20):
        config = dataclasses.replace(TINY, seed=seed, holdout=0.5)
        if 1 in data.split(0.5, seed=seed)[0].labels:
            make_trainer(config, data)
            seen.add(True)
            continue
        with pytest.raises(ValueError, match="expected data of all 2 classes to train on, got 1"):
            make_trainer(config, data)
        seen.add(False)
    assert seen == {True, False}


def test_a_conditional_run_learns_where_each_class_is(effebm, tmp_path):
    run, out = tmp_path / "run", tmp_path / "x.npy"
    options = ["--conditional", "--chains", 64, "--langevin-steps", 10, "--iterations", 150]
    rest = ["--batch-size", 64, "--learning-rate", "3e-3", "--ais-steps", 0, "--out", run]
    assert effebm("train", "--data", "two-moons", *options, *rest)[0] == 0
    for label in (0, 1):
        flags = ["--n", 100, "--steps", 300, "--from-noise", "--label", label, "--out", out]
        assert effebm("sample", run, *flags)[0] == 0
        height = np.load(out)[:, 1].mean()
        assert (height > 0.1) if label else (height < -0.1)
    model = load_model(run)
    assert model.n_classes == 2
    assert per_chain(model.energy(model.data), 1000).isfinite().all()  # the marginal
    y = load("two-moons").examples(1000, seed=0).labels
    by_class = [model.energy(model.data, torch.full_like(y, k)) for k in (0, 1)]
    assert ((by_class[1] < by_class[0]) == (y == 1)).float().mean() > 0.9  # no class sinks
    rows = model.state.energy_kwargs["y"] == 1
    assert torch.equal(model.sample(3, 0, label=1), model.samples[rows][:3])
    assert torch.equal(model.labels(70), model.state.energy_kwargs["y"][torch.arange(70) % 64])
    assert effebm("sample", run, "--out", tmp_path / "x.png")[0] == 0
    for label, message in ((2, "label: expected 0 to 1, got 2"), (-1, "got -1")):
        status, _, error = effebm("sample", run, "--label", label, "--out", out)
        assert (status, message in error) == (2, True)
    model.state.energy_kwargs["y"][:] = 0
    with pytest.raises(ValueError, match="label: no chain is of class 1: start from noise"):
        model.sample(3, 0, label=1)
    assert model.sample(3, 1, seed=0, label=1, from_noise=True, clean=True).shape == (3, 2)


def test_a_conditional_run_of_few_chains_is_evaluated(effebm, tmp_path):
    file, run = tmp_path / "data.npz", tmp_path / "run"
    np.savez(file, x=normal(50, 2).numpy(), y=np.arange(50) % 3)
    options = ["--chains", 4, "--langevin-steps", 1, "--iterations", 1, "--ais-steps", 5]
    assert effebm("train", "--data", file, "--conditional", *options, "--out", run)[0] == 0
    assert effebm("evaluate", run, "--ais-chains", 4)[::2] == (0, "")


def test_labels_that_are_missing_or_not_asked_for(effebm, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 2)))
    out = tmp_path / "run"
    status, _, error = effebm("train", "--data", tmp_path / "x.npy", "--conditional", "--out", out)
    assert (status, "expected labels in" in error) == (2, True)
    assert not out.exists()
    options = ["--chains", 4, "--langevin-steps", 1, "--iterations", 1, "--ais-steps", 0]
    assert effebm("train", "--data", "rings", *options, "--out", out)[0] == 0
    for label in (0, "cat"):
        status, _, error = effebm("sample", out, "--label", label, "--out", tmp_path / "x.npy")
        assert (status, "label: expected none, the run is not conditional" in error) == (2, True)


def test_pictures_show_images_in_the_order_of_their_classes():
    y = torch.arange(70) % 10
    images = (y / 9)[:, None, None, None].expand(-1, 1, 1, 1)
    shown = draw_samples(images, images, is_image=True, labels=y).axes[0].images[0].get_array()
    assert torch.equal(torch.tensor(shown[1::2, 1::2].ravel()), (y[:64].sort()[0] / 9).double())

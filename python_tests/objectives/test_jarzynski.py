"""The objective jarzynski: learns, resumes, is sampled from."""

import math

import pytest
import torch
from helpers import normal
from stopped_runs import metrics_of_stopped_and_resumed

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.losses import contrastive_divergence
from effebm_ext.networks import GaussianBase
from effebm_ext.objectives import Jarzynski
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset, load
from effebm_ext.runs.model import load_model
from effebm_ext.runs.trainer import make_sampler, make_trainer
from effebm_ext.training import NonFiniteError, Trainer

RUN = ["--objective", "jarzynski", "--data", "two-moons", "--chains", "12", "--batch-size", "4",
       "--langevin-steps", "2", "--iterations", "8", "--checkpoint-every", "3",
       "--resample-threshold", "0.9995", "--step-size-end", "0.001",
       "--ais-steps", "4"]  # fmt: skip
KINDS = [
    [],
    ["--compressor", "topk:1", "--clip", "value:1"],
    ["--compressor", "block-sign:2", "--adjusted", "--moved-chains", "5"],
    ["--compressor", "topk:1", "--moved-chains", "5", "--resampling", "multinomial"],
    ["--compressor", "topk:1", "--following-walkers", "7"],
]


@pytest.mark.parametrize(
    ("options", "iterations"),
    [(KINDS[0], 1), (KINDS[0], 6), *zip(KINDS[1:], (4, 5, 7, 4), strict=True)],
)
def test_a_resumed_run_equals_an_uninterrupted_one(effebm, tmp_path, options, iterations):
    metrics = metrics_of_stopped_and_resumed(effebm, tmp_path, [*RUN, *options], iterations)
    assert any(m["resampled"] for m in metrics)
    assert all(("acceptance" in m) == ("--adjusted" in options) for m in metrics)
    of_followers = {"following_log_z", "following_ess", "cross_entropy_error"}
    shown = of_followers if "--following-walkers" in options else set()
    assert all(of_followers & m.keys() == shown for m in metrics)


def test_a_run_is_sampled_from_by_uncompressed_steps_of_its_resampled_walkers(effebm, tmp_path):
    run = tmp_path / "run"
    options = ["--compressor", "topk:1", "--resample-threshold", "0"]
    assert effebm("train", "--out", run, *RUN, *options)[0] == 0
    model = load_model(run)
    assert isinstance(model.energy, GaussianBase)
    trainer = make_trainer(model.config, load("two-moons"))
    trainer.load_state_dict(torch.load(run / "checkpoint.pt", weights_only=True)["trainer"])
    assert torch.equal(model.state.x, trainer.chains.state.x)
    assert torch.equal(model.energy(model.state.x), trainer.energy(model.state.x))
    assert make_sampler(model.config, model.energy).compressor is None
    assert model.sample(5, 2, seed=0).shape == (5, 2)
    assert effebm("sample", run, "--n", "4", "--steps", "2", "--out", tmp_path / "x.npy")[0] == 0
    assert effebm("evaluate", run, "--ais-steps", "3", "--ais-chains", "4")[0] == 0


@pytest.mark.parametrize(
    "options", [{}, {"adjusted": True}, {"compressor": "topk:0.1"},
                {"compressor": "topk:0.1", "adjusted": True}], ids=str
)  # fmt: skip
def test_digits(options):
    config = TrainConfig(
        objective="jarzynski", iterations=20, chains=32, langevin_steps=4, **options
    )
    trainer = make_trainer(config, load("digits"))
    seen = [trainer.iteration() for _ in range(6)]
    assert seen[-1]["cross_entropy"] < seen[0]["cross_entropy"]
    names = {"energy_gap", "data_energy", "sample_energy", "log_z", "cross_entropy", "loss",
             "grad_norm", "ess", "resampled"}  # fmt: skip
    assert seen[0].keys() == names | ({"acceptance"} if config.adjusted else set())
    assert all(1 <= s["ess"] <= 32 for s in seen)
    first = seen[0]
    assert first["cross_entropy"] == pytest.approx(first["log_z"] + first["data_energy"], abs=1e-3)
    assert first["energy_gap"] == pytest.approx(
        first["sample_energy"] - first["data_energy"], abs=1e-3
    )


def test_the_walkers_start_with_the_weights_of_the_base():
    """A network that says nothing would leave them all equal, to the base's log Z."""
    data = Dataset("points", 3 + 2 * normal(200, 5), False)
    config = TrainConfig(objective="jarzynski", chains=64, data_noise=0.5)
    trainer = make_trainer(config, data)
    mean, std = float(trainer.energy.mean), float(trainer.energy.std)
    rows = data.split(config.holdout, seed=0)[0].x
    assert mean == pytest.approx(float(rows.mean()))
    assert std == pytest.approx(math.hypot(float(rows.std(correction=0)), 0.5))
    walkers = trainer.chains
    net = trainer.energy.net(walkers.walkers.x).detach().double()
    exact = 2.5 * math.log(2 * math.pi) + 5 * math.log(std)
    torch.testing.assert_close(
        walkers.log_weights + net, torch.full_like(net, exact), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("adjusted", [False, True])
def test_training_finds_masses_that_walkers_cannot_carry_over(adjusted):
    """Two modes 12 apart, of which the data have masses 3/4 and 1/4, the walkers half each: none
    crosses, so the weights have to say it."""

    class Modes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.z = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x):
            low, high = ((x - a).square().sum(1) / 2 for a in (-6.0, 6.0))
            return -torch.logaddexp(-low, -high - self.z)

    energy = Modes()
    side = torch.where(torch.arange(4000) % 4 == 0, 6.0, -6.0)[:, None]
    data = side + normal(4000, 1, seed=1)
    x0 = torch.where(torch.arange(1000) % 2 == 0, 6.0, -6.0)[:, None] + normal(1000, 1, seed=2)
    log_z = math.log(2 * math.sqrt(2 * math.pi))
    kind = eff.MALA if adjusted else eff.Langevin
    walkers = WeightedWalkers(
        kind(energy, step_size=0.1), x0, -energy(x0).detach().double() - log_z, rng=eff.Key(0)
    )
    trainer = Trainer(
        energy, torch.optim.SGD(energy.parameters(), lr=0.2),
        Jarzynski(energy, walkers, langevin_steps=1), data, batch_size=1000,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    seen = [trainer.iteration() for _ in range(150)]
    # an error of 500 walkers of each mode, and of batches of 1000, over about 1 / (lr * 3/16) steps
    assert float(energy.z.detach()) == pytest.approx(math.log(3), abs=0.12)
    exact = math.log(math.sqrt(2 * math.pi)) + math.log1p(math.exp(-float(energy.z.detach())))
    assert walkers.log_z == pytest.approx(exact, abs=0.06)
    assert any(s["resampled"] for s in seen) is False
    mass = float((walkers.state.x > 0).double().mean())
    assert mass == pytest.approx(1 / (1 + math.exp(float(energy.z.detach()))), abs=0.055)
    assert float((walkers.walkers.x > 0).double().mean()) == 0.5


def test_the_weighted_loss():
    data, samples = normal(7, seed=1), normal(5, seed=2)
    w = torch.softmax(normal(5, seed=3), 0)
    loss, gap = contrastive_divergence(data, samples, energy_l2=0.3, weights=w)
    want = data.mean() - w @ samples
    squares = data.square().mean() + w @ samples.square()
    torch.testing.assert_close(loss, want + 0.3 * squares)
    torch.testing.assert_close(gap, -want)
    equal = contrastive_divergence(data, samples, energy_l2=0.3, weights=torch.full((5,), 0.2))
    torch.testing.assert_close(equal, contrastive_divergence(data, samples, energy_l2=0.3))


def test_chains_without_weights_are_refused():
    energy = GaussianBase(torch.nn.Flatten(0), 0.0, 1.0)
    chains = PersistentChains(eff.Langevin(energy, step_size=0.1), normal(4, 1))
    with pytest.raises(TypeError, match="walkers: expected WeightedWalkers, got PersistentChains"):
        Jarzynski(energy, chains, langevin_steps=1)


def test_weights_that_are_not_finite_stop_the_run():
    trainer = make_trainer(
        TrainConfig(objective="jarzynski", chains=8, batch_size=4, langevin_steps=1),
        Dataset("points", normal(50, 2), False),
    )
    trainer.chains.log_weights[3] = math.nan
    with pytest.raises(NonFiniteError, match=r"iteration 1: .* is nan"):
        trainer.iteration()


def test_the_average_of_the_parameters_has_the_base():
    config = TrainConfig(objective="jarzynski", chains=8, batch_size=4, langevin_steps=1,
                         ema_decay=0.5)  # fmt: skip
    trainer = make_trainer(config, Dataset("points", 3 + normal(50, 2), False))
    trainer.iteration()
    assert torch.equal(trainer.model.mean, trainer.energy.mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"energy": "resnet"}, r"energy: not resnet with objective jarzynski: its quadratic head"),
     ({"cuda_graph": True}, r"cuda_graph: expected none with objective jarzynski"),
     ({"resample_threshold": 1.5}, r"resample_threshold: expected 0 to 1, got 1\.5")],
)  # fmt: skip
def test_what_a_configuration_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(objective="jarzynski", **options)

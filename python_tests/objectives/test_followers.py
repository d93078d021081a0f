"""Followers, walkers that never enter the gradient: their log Z, its error, and what they leave."""

import math

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.evaluation.estimates import log_mean_exp
from effebm_ext.objectives import Jarzynski
from effebm_ext.rng import key_for
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.methods import METHODS
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import Trainer

LOG_2PI = math.log(2 * math.pi)


class Gaussian(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(dim))
        self.log_precision = torch.nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return (self.log_precision.exp() * (x - self.mean).square()).sum(1) / 2

    @property
    def log_z(self):
        s = self.log_precision.detach().double()
        return len(s) / 2 * LOG_2PI - float(s.sum()) / 2


def walkers_of(energy, n, seed, kind=eff.Langevin, **options):
    """Samples of a standard normal, which have their own numbers for every seed."""
    dim = len(energy.mean)
    x0 = normal(n, dim, seed=seed)
    log_density = -x0.double().square().sum(1) / 2 - dim / 2 * LOG_2PI
    sampler = kind(energy, step_size=0.1, **options)
    return WeightedWalkers(sampler, x0, log_density, rng=eff.Key(seed))


def trainer_of(dim, walkers, followers, seed, rate=0.02, **options):
    """Followers have the seed 1000 + seed; None: there are none."""
    energy = Gaussian(dim)
    data = 0.5 + 1.5 * normal(500, dim, seed=seed + 2000)
    objective = Jarzynski(
        energy, walkers_of(energy, walkers, seed, **options), langevin_steps=2,
        followers=followers and walkers_of(energy, followers, seed + 1000, **options),
    )  # fmt: skip
    return Trainer(
        energy, torch.optim.Adam(energy.parameters(), lr=rate), objective, data, batch_size=32,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"kind": eff.MALA, "compressor": eff.TopK(5)}], ids=["full", "top-k"]
)
def test_the_mean_weight_of_followers_has_the_expectation_z(options):
    """Sixteen trainings: Z^ / Z of followers is 1 in the mean; the training walkers are nats
    below, and the error that is stated is that of the runs."""
    errors, stated, training = [], [], []
    for seed in range(16):
        trainer = trainer_of(20, 32, 64, seed, **options)
        for _ in range(40):
            trainer.iteration()
        objective, log_z = trainer.objective, trainer.energy.log_z
        errors.append(objective.followers.log_z - log_z)
        stated.append(objective.followers.log_z_error)
        training.append(objective.walkers.log_z - log_z)
    ratios = torch.tensor(errors, dtype=torch.float64).exp()
    error = float(ratios.std()) / math.sqrt(16)
    assert error < 0.13
    assert abs(float(ratios.mean()) - 1) < 3.5 * error
    assert sum(training) / 16 < -1
    found, mean_stated = float(torch.tensor(errors).std()), sum(stated) / 16
    assert 0.6 < mean_stated / found < 1.6  # a standard deviation of 16 runs has an error of 18 %


def test_the_error_without_resampling_is_that_of_the_mean_weight():
    energy = Gaussian(3)
    walkers = walkers_of(energy, 50, 1)
    walkers.resample_threshold = 0.0
    with torch.no_grad():
        energy.mean += 0.4
    walkers.advance(1)
    variance = log_mean_exp(walkers.log_weights).error ** 2
    want = math.sqrt(variance / (1 - variance))
    assert walkers.log_z_error == pytest.approx(want, rel=1e-9)
    assert 0.05 < want < 1.01 * math.sqrt(variance)


def test_the_error_counts_copies_of_a_walker_as_one():
    energy = Gaussian(3)
    walkers = walkers_of(energy, 50, 1)
    walkers.log_weights[:] = -math.inf
    walkers.log_weights[[3, 7]] = 0.0  # two walkers are left, of which half the copies come each
    before = walkers.log_z_error
    assert walkers.advance(1).resampled
    assert walkers.ess == pytest.approx(50)
    assert before == pytest.approx(math.sqrt((1 / 2 - 1 / 50) / (1 / 2)))
    assert walkers.log_z_error == pytest.approx(before, abs=0.005)  # the step changes weights too
    walkers.log_weights[walkers.walkers.x[:, 0] != walkers.walkers.x[0, 0]] = -math.inf
    assert walkers.advance(1).resampled
    assert walkers.log_z_error == math.inf


def test_followers_change_nothing_in_the_training_and_move_by_the_same_energies():
    beside, alone = trainer_of(4, 16, 9, 0, rate=0.1), trainer_of(4, 16, None, 0, rate=0.1)
    by_hand = walkers_of(alone.energy, 9, 1000)
    theirs = {"following_log_z", "following_ess", "cross_entropy", "cross_entropy_error"}
    for _ in range(8):
        log_z = by_hand.log_z
        seen, plain = beside.iteration(), alone.iteration()
        by_hand.advance(2)
        assert {k: v for k, v in seen.items() if k not in theirs} == {
            k: v for k, v in plain.items() if k not in theirs
        }
        assert seen["following_log_z"] == pytest.approx(log_z, rel=1e-6)
        assert seen["cross_entropy"] == pytest.approx(log_z + seen["data_energy"], rel=1e-6)
    assert seen["cross_entropy"] != plain["cross_entropy"]
    assert_same_bits(beside.objective.followers.walkers.x, by_hand.walkers.x)
    assert_same_bits(beside.objective.followers.log_weights, by_hand.log_weights)
    assert_same_bits(beside.energy.mean.detach(), alone.energy.mean.detach())
    assert_same_bits(beside.state.x, alone.state.x)


def test_the_cross_entropy_has_the_errors_of_followers_and_data():
    objective = trainer_of(4, 16, 9, 0).objective
    with torch.no_grad():
        objective.energy.mean += 0.5
    objective.parameters_moved()
    data = normal(30, 4, seed=7)
    metrics = objective.loss(data, {}).metrics
    of_data = float(objective.energy(data).detach().std()) / math.sqrt(30)
    want = math.hypot(objective.followers.log_z_error, of_data)
    assert float(metrics["cross_entropy_error"]) == pytest.approx(want, rel=1e-6)
    one = objective.loss(data[:1], {}).metrics
    objective.followers.log_weights[1:] = -math.inf
    objective.parameters_moved()
    lost = objective.loss(data, {}).metrics
    for metrics in (one, lost):
        assert "cross_entropy_error" not in metrics
        assert bool(metrics["cross_entropy"].isfinite())


@pytest.mark.parametrize("options", [{}, {"compressor": eff.BlockSign(2), "kind": eff.MALA}])
def test_saved_trainers_go_on_to_the_bit(options):
    whole, parted = (trainer_of(4, 16, 9, 0, rate=0.3, **options) for _ in range(2))
    for trainer in (whole, parted):
        trainer.objective.followers.resample_threshold = 0.9
    for _ in range(6):
        parted.iteration()
    again = trainer_of(4, 16, 9, 0, rate=0.3, **options)
    again.objective.followers.resample_threshold = 0.9
    again.load_state_dict(parted.state_dict())
    seen = [whole.iteration() for _ in range(12)]
    assert [again.iteration() for _ in range(6)] == seen[6:]
    assert min(s["following_ess"] for s in seen[:6]) < 0.9 * 9
    followers, others = whole.objective.followers, again.objective.followers
    assert followers.log_z_error == others.log_z_error
    assert_same_bits(followers.walkers.x, others.walkers.x)


def test_a_checkpoint_without_followers_is_refused():
    trainer = trainer_of(4, 8, 5, 0)
    with pytest.raises(KeyError, match="followers"):
        trainer.load_state_dict(trainer_of(4, 8, None, 0).state_dict())


def test_what_is_refused():
    energy = Gaussian(2)
    walkers = walkers_of(energy, 4, 1)

    def make(followers):
        return Jarzynski(energy, walkers, langevin_steps=1, followers=followers)

    with pytest.raises(TypeError, match="followers: expected WeightedWalkers, got int"):
        make(4)
    with pytest.raises(ValueError, match="followers: expected walkers of their own, got the train"):
        make(walkers)
    with pytest.raises(ValueError, match=r"followers: expected a key of their own, got Key\(seed="):
        make(walkers_of(energy, 5, 1))
    with pytest.raises(ValueError, match="followers: expected at least 2, for a standard error, "):
        make(walkers_of(energy, 1, 2))
    with pytest.raises(ValueError, match=r"following_walkers: expected 0 or at least 2, .* got 1"):
        TrainConfig(objective="jarzynski", following_walkers=1)


RUN = ["--objective", "jarzynski", "--data", "two-moons", "--chains", 12, "--batch-size", 4,
       "--langevin-steps", 2, "--checkpoint-every", 3, "--ais-steps", 0,
       "--following-walkers", 9]  # fmt: skip


def test_a_new_seed_keeps_the_keys_apart(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", *RUN, "--seed", 3, "--iterations", 3, "--out", run)[0] == 0
    assert effebm("train", "--resume", run, "--seed", 7, "--iterations", 5)[0] == 0
    chains = checkpoint.load(run / "checkpoint.pt")["trainer"]["chains"]
    assert chains["key"]["seed"] == 7
    assert chains["followers"]["key"]["seed"] == key_for("followers", 7).seed


def test_a_run_can_change_all_but_the_number_of_followers(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", *RUN, "--iterations", 3, "--out", run)[0] == 0
    status, _, message = effebm("train", "--resume", run, "--following-walkers", 8)
    assert status == 2
    assert "the run keeps its own --following-walkers" in message
    changes = ["--langevin-steps", 3, "--step-size", 0.005, "--learning-rate", 0.01]
    assert effebm("train", "--resume", run, "--iterations", 5, *changes)[0] == 0


def test_followers_do_not_change_a_run():
    data = Dataset("points", 3 + normal(60, 2), False)
    options = {"chains": 8, "batch_size": 4, "langevin_steps": 1, "moved_chains": 3}
    trainers = [
        make_trainer(TrainConfig(objective="jarzynski", following_walkers=n, **options), data)
        for n in (0, 5)
    ]
    losses = [[trainer.iteration()["loss"] for _ in range(4)] for trainer in trainers]
    assert losses[0] == losses[1]
    followers = trainers[1].objective.followers
    assert followers.walkers.x.shape == (5, 2)
    assert followers.log_z == pytest.approx(trainers[0].chains.log_z, abs=0.5)


def test_the_bar_shows_the_cross_entropy_of_followers_only():
    shown = {"energy_gap": 0.25, "cross_entropy": 31.416, "cross_entropy_error": 0.052}
    progress = METHODS["jarzynski"].progress
    assert progress(shown) == "energy gap +0.250, cross entropy 31.42 ± 0.05"
    del shown["cross_entropy_error"]
    assert progress(shown) == "energy gap +0.250"

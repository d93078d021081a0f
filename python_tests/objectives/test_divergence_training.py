"""Chains of walkers and training runs that diverge: counted, begun anew, or the end of the run."""

import copy
import dataclasses
import json
import math
import pickle
import warnings

import pytest
import torch
from helpers import assert_same_bits, normal

import effebm_ext as eff
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.chains.weighted import WeightedWalkers
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.trainer import make_trainer
from effebm_ext.training import NonFiniteError

KEY = eff.Key(4)
POINTS = Dataset("points", normal(50, 2), False)
TINY = TrainConfig(
    data="two-moons", chains=8, langevin_steps=2, iterations=4, batch_size=4, compressor="topk:1",
    ais_steps=0, on_divergence="restart",
)  # fmt: skip
KINDS = {
    "contrastive": {},
    "buffer": {"buffer_size": 12},
    "particle": {"objective": "particle"},
    "jarzynski": {"objective": "jarzynski", "compressor": "none", "error_feedback": False},
    "adjusted": {"objective": "jarzynski", "compressor": "none", "adjusted": True},
    "score": {"objective": "dsm", "checkpoint_every": 1},
}


def trainer_of(kind, **changes):
    return make_trainer(dataclasses.replace(TINY, **{**KINDS[kind], **changes}), POINTS)


def poison(trainer):
    """Sends some chains to nowhere."""
    chains = getattr(trainer.chains, "chains", trainer.chains)
    if isinstance(chains, WeightedWalkers):
        chains.walkers.drift[3] = math.nan
    elif isinstance(chains, ReplayBuffer):
        chains.buffer.x[:9] = math.nan  # at least five of which are drawn next
    else:
        chains.state.x[3] = math.nan


def parameters(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.energy.parameters()])


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_diverge_is_trained_the_same(kind):
    trained = []
    for policy in ("raise", "restart", "keep"):
        trainer = trainer_of(kind, on_divergence=policy)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            metrics = [trainer.iteration() for _ in range(3)]
        counts = [m.pop("n_diverged", None) for m in metrics]
        assert counts == [None if policy == "raise" else 0.0] * 3
        trained.append((parameters(trainer), trainer.chains.state.x, metrics))
    for other in trained[1:]:
        assert_same_bits(other[0], trained[0][0])
        assert_same_bits(other[1], trained[0][1])
        assert other[2] == trained[0][2]


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"adjusted"}))
def test_a_run_goes_on_with_restarted_chains(kind):
    trainer = trainer_of(kind)
    before = trainer.iteration()
    poison(trainer)
    with pytest.warns(RuntimeWarning, match="chains diverged"):
        after = trainer.iteration()
    assert after["n_diverged"] >= 1
    assert after.keys() == before.keys()
    assert trainer.chains.state.x.isfinite().all()
    if kind != "buffer":
        assert after["n_diverged"] == 1
        assert trainer.iteration()["n_diverged"] in (0, 1)  # a weight of zero may stay a while
    assert parameters(trainer).isfinite().all()


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"adjusted"}))
def test_a_run_that_raises_names_iteration_and_chains(kind):
    trainer = trainer_of(kind, on_divergence="raise")
    trainer.iteration()
    poison(trainer)
    before = parameters(trainer)
    expected = (
        r"^iteration 2: \d+ of \d+ chains diverged .*: the (energy|state) of chain \d+ is nan"
    )
    with pytest.raises(NonFiniteError, match=expected):
        trainer.iteration()
    if kind not in ("jarzynski", "adjusted"):  # whose walkers move after the parameters
        assert_same_bits(parameters(trainer), before)


def test_a_run_that_keeps_its_chains_ends_by_the_loss():
    trainer = trainer_of("contrastive", on_divergence="keep")
    poison(trainer)
    with (
        pytest.warns(RuntimeWarning, match="1 of 8 chains diverged"),
        pytest.raises(NonFiniteError, match=r"iteration 1: .* is nan"),
    ):
        trainer.iteration()


@pytest.mark.parametrize("kind", ["contrastive", "buffer", "particle"])
def test_a_resumed_run_restarts_chains_to_the_bit(kind):
    trainer, again = trainer_of(kind), trainer_of(kind)
    trainer.iteration()
    saved = trainer.state_dict()
    assert torch.equal(saved["chains"]["start"], trainer.chains.state.start)
    again.load_state_dict(copy.deepcopy(saved))
    for one in (trainer, again):
        poison(one)
        with pytest.warns(RuntimeWarning):
            one.iteration()
    assert_same_bits(again.chains.state.x, trainer.chains.state.x)
    assert_same_bits(parameters(again), parameters(trainer))
    assert "start" not in trainer_of(kind, on_divergence="raise").state_dict()["chains"]
    damaged = {**saved["chains"], "start": torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=r"chains: expected start \(8, 2\), got \(3, 2\)"):
        again.chains.load_state_dict(damaged)


def test_the_command_line_has_on_divergence(effebm, tmp_path):
    run = ["train", "--data", "two-moons", "--chains", "4", "--batch-size", "4", "--ais-steps", "0",
           "--iterations", "2", "--langevin-steps", "2", "--out", tmp_path / "run"]  # fmt: skip
    assert effebm(*run, "--on-divergence", "restart")[0] == 0
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [m["n_diverged"] for m in metrics] == [0, 0]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["on_divergence"] == "restart"
    assert effebm("train", "--resume", tmp_path / "run")[0] == 0
    sample = ["sample", tmp_path / "run", "--steps", "2", "--out", tmp_path / "x.npy"]
    assert effebm(*sample)[0] == 0
    status, _, complaint = effebm(*run, "--overwrite", "--on-divergence", "stop")
    assert status != 0
    assert "on_divergence: expected raise, restart, keep, got 'stop'" in complaint


def test_chains_begun_anew_go_back_to_their_new_start():
    def wall(x):
        return torch.where(x[:, 0] < 50, 0.0, math.nan) + 0 * x.sum(1)

    sampler = eff.Langevin(wall, step_size=0.1, on_divergence="restart")
    restart = Restart(1.0, lambda n: torch.full((n, 2), 20.0), torch.Generator())
    chains = PersistentChains(sampler, torch.zeros(3, 2), rng=KEY, restart=restart)
    chains.advance(2)
    assert (chains.state.start == 20).all()
    restart.probability = 0.0
    chains.state.x[1] = 60.0
    with pytest.warns(RuntimeWarning):
        chains.advance(1)
    assert (chains.x[1] == 20).all()


def test_a_restart_can_be_pickled():
    restart = Restart(0.5, torch.zeros, torch.Generator().manual_seed(3))
    again = pickle.loads(pickle.dumps(restart))
    assert again.probability == 0.5
    assert again.fresh_kwargs(2) == {}


class Walled(torch.nn.Module):
    """N(0, I), without a density beyond an edge that moves inwards."""

    def __init__(self, beyond):
        super().__init__()
        self.beyond, self.edge = beyond, 1.0

    def forward(self, x):
        return torch.where(x[:, 0] < self.edge, x.square().sum(1) / 2, self.beyond)


def followed(beyond, kind, **options):
    energy, x0 = Walled(beyond), normal(200, 2)
    x0 = x0[x0[:, 0] < 0.9]
    density = -x0.double().square().sum(1) / 2
    walkers = WeightedWalkers(kind(energy, step_size=0.1), x0, density, rng=KEY, **options)
    seen = []
    for _ in range(10):
        seen.append(walkers.advance(2))
        energy.edge -= 0.05
    return walkers, seen


@pytest.mark.parametrize("kind", [eff.Langevin, eff.MALA])
@pytest.mark.parametrize("moved", [0, 60])
@pytest.mark.parametrize("threshold", [0.0, 0.98])
def test_restart_gives_walkers_of_nan_the_weight_of_no_density(kind, moved, threshold):
    options = {"moved": moved, "resample_threshold": threshold}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infinite, wanted = followed(math.inf, kind, **options)
    with pytest.warns(RuntimeWarning) as told:
        nan, seen = followed(math.nan, kind, on_divergence="restart", **options)
    assert len(told) == 1
    assert all(w.n_diverged == 0 for w in wanted)
    assert sum(s.n_diverged for s in seen) > 0
    assert_same_bits(nan.log_weights, infinite.log_weights)
    assert nan.log_z == infinite.log_z
    assert [s.ess for s in seen] == [w.ess for w in wanted]
    weighty = nan.log_weights > -math.inf
    assert weighty.any()
    assert_same_bits(nan.walkers.x[weighty], infinite.walkers.x[weighty])


def test_walkers_of_nan_are_told_of_or_end_the_run():
    with pytest.warns(RuntimeWarning) as seen:
        walkers, followings = followed(math.nan, eff.Langevin)
    assert len(seen) == 1
    assert "chains diverged before step" in str(seen[0].message)
    assert "the energy of chain" in str(seen[0].message)
    assert followings[-1].n_diverged == int(walkers.log_weights.isnan().sum()) > 0
    assert math.isnan(followings[-1].ess)
    with pytest.raises(eff.NonFiniteError, match=r"of 16\d chains diverged before step"):
        followed(math.nan, eff.Langevin, on_divergence="raise")
    sampler = eff.Langevin(Walled(0.0), step_size=0.1, on_divergence="raise")
    with pytest.raises(ValueError, match=r"sampler: expected on_divergence='keep', .*'raise'"):
        WeightedWalkers(sampler, torch.zeros(2, 2), torch.zeros(2))

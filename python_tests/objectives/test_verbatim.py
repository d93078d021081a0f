"""``--verbatim`` is EFF-EBM's Algorithm 1, written out here, and refuses everything else."""

import dataclasses
import json

import pytest
import torch
from helpers import normal
from kill_and_resume import result

import effebm_ext as eff
from effebm_ext.networks import make_energy
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import KINDS, Dataset
from effebm_ext.runs.trainer import make_trainer

DATA = Dataset("points", 3 * normal(60, 5), False)
CONFIG = TrainConfig(
    data="points", verbatim=True, compressor="topk:2", chains=6, langevin_steps=3, iterations=8,
    batch_size=4, learning_rate=0.3, step_size=0.2, step_size_end=0.05, seed=5,
)  # fmt: skip


def algorithm_1(iterations):
    """Parameters and chains after some iterations, from the pseudocode."""
    x, eta = DATA.split(CONFIG.holdout, seed=CONFIG.seed)[0].x, CONFIG.learning_rate
    gamma = [0.2, 0.1, 0.05]
    with torch.random.fork_rng():
        torch.manual_seed(CONFIG.seed)
        energy = make_energy("auto", DATA.event_shape)
    theta = list(energy.parameters())
    draws, noise = torch.Generator().manual_seed(CONFIG.seed), eff.Key(CONFIG.seed)
    z = x.mean() + x.std(correction=0) * torch.randn((CONFIG.chains, 5), generator=draws)
    for t in range(iterations):
        for k in range(3):
            z.requires_grad_()
            (ascent,) = torch.autograd.grad(-energy(z).sum(), z)
            largest = ascent.abs().topk(2, dim=1).indices
            c = torch.zeros_like(ascent).scatter(1, largest, ascent.gather(1, largest))
            # z + gamma_k / 2 * C(grad f(z)) + sqrt(gamma_k) * noise
            z = eff.langevin_step(z.detach(), -c, gamma[k], rng=noise.at(3 * t + k))
        batch = x[torch.randint(len(x), (CONFIG.batch_size,), generator=draws)]
        of_data = torch.autograd.grad(-energy(batch).mean(), theta)
        of_chains = torch.autograd.grad(-energy(z).mean(), theta)
        with torch.no_grad():
            for parameter, up, down in zip(theta, of_data, of_chains, strict=True):
                parameter.add_(up - down, alpha=eta)
    return theta, z


def test_nothing_is_left_out_of_the_published_algorithm():
    trainer = make_trainer(CONFIG, DATA)
    for _ in range(4):
        assert trainer.iteration()["grad_norm"] > 1  # the default would scale it down
    theta, z = algorithm_1(4)
    assert torch.equal(trainer.chains.state.x, z)
    for got, want in zip(trainer.energy.parameters(), theta, strict=True):
        assert torch.equal(got, want)


def test_step_sizes_begin_anew_in_every_iteration():
    step_size = CONFIG.resolved("points").step_sizes()
    assert [step_size(k) for k in range(6)] == pytest.approx([0.2, 0.1, 0.05] * 2)
    one = dataclasses.replace(CONFIG, langevin_steps=1).resolved("points").step_sizes()
    assert [one(0), one(1)] == [0.2, 0.2]


def test_what_it_says_stands_in_the_configuration():
    for kind in KINDS:
        config = TrainConfig(verbatim=True).resolved(kind)
        assert (config.optimizer, config.learning_rate_schedule) == ("sgd", "constant")
        assert (config.energy_l2, config.data_noise, config.max_grad_norm) == (0, 0, 0)
        assert (config.error_feedback, config.compressor) == (False, "block-sign:64")
        assert TrainConfig(**dataclasses.asdict(config)) == config
    rates = dataclasses.replace(
        CONFIG, learning_rate_schedule="linear"
    )  # the source leaves it open
    assert rates.resolved("points").learning_rate_share(2) == 0.75


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--error-feedback"], "error_feedback: expected False with verbatim, the published algo"),
        (["--objective", "particle"], "objective: expected contrastive with verbatim"),
        (["--conditional"], "conditional: expected False with verbatim"),
        (["--averaged-noise"], "averaged_noise: expected False with verbatim"),
        (["--clip", "norm:1"], "clip: expected none with verbatim"),
        (["--buffer-size", 100, "--chains", 8], "buffer_size: expected 0 with verbatim"),
        (["--restart-probability", 0.1], "restart_probability: expected 0.0 with verbatim"),
        (["--on-divergence", "restart"], "on_divergence: expected raise with verbatim"),
        (["--optimizer", "adam"], "optimizer: expected sgd with verbatim"),
        (["--ema-decay", 0.9], "ema_decay: expected 0.0 with verbatim"),
        (["--data-noise", 0.1], "data_noise: expected 0.0 with verbatim"),
        (["--energy-l2", 0.1], "energy_l2: expected 0.0 with verbatim"),
        (["--max-grad-norm", 1], "max_grad_norm: expected 0.0 with verbatim"),
    ],
)
def test_what_contradicts_it_is_refused(effebm, tmp_path, flags, message):
    out = tmp_path / "run"
    status, _, printed = effebm("train", "--data", "rings", "--verbatim", *flags, "--out", out)
    assert (status, message in printed) == (2, True), printed
    assert not out.exists()


def test_a_verbatim_run_is_resumed_to_the_bit(effebm, tmp_path):
    flags = ["train", "--data", "two-moons", "--verbatim", "--chains", 4, "--batch-size", 4,
             "--langevin-steps", 3, "--step-size", 0.02, "--step-size-end", 0.001,
             "--iterations", 7, "--checkpoint-every", 3, "--ais-steps", 3]  # fmt: skip
    assert effebm(*flags, "--out", tmp_path / "whole")[0] == 0
    assert effebm(*flags, "--out", tmp_path / "run", stop_after=5)[0] == 130
    assert json.loads((tmp_path / "run" / "config.json").read_text())["verbatim"] is True
    assert effebm("train", "--resume", tmp_path / "run")[0] == 0
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    out = tmp_path / "x.npy"
    assert effebm("sample", tmp_path / "run", "--steps", 2, "--n", 4, "--out", out)[0] == 0


def test_sgd_and_no_bound_can_be_had_without_it():
    config = dataclasses.replace(CONFIG, verbatim=False, optimizer="sgd", max_grad_norm=0.0)
    trainer = make_trainer(config, DATA)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    norm = trainer.iteration()["grad_norm"]
    left = sum(float(p.grad.square().sum()) for p in trainer.energy.parameters()) ** 0.5
    assert left == pytest.approx(norm) != 1
    with pytest.raises(ValueError, match="optimizer: expected adam, sgd, got 'lion'"):
        dataclasses.replace(CONFIG, optimizer="lion")


def test_older_configurations_mean_what_they_meant():
    old = {"data": "points", "learning_rate_schedule": "cosine", "max_grad_norm": 1.0,
           "objective": "jarzynski", "energy_l2": 0.001}  # fmt: skip
    config = TrainConfig(**old).resolved("points")
    assert (config.optimizer, config.verbatim, config.energy_l2) == ("adam", False, 0.001)
    assert isinstance(make_trainer(config, DATA).optimizer, torch.optim.Adam)

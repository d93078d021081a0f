"""A run says when it fails: in warnings, in a metric, and in its exit status."""

import json
import warnings

import pytest
import torch

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.training.health import Health

DATA = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))


DENOISING = {"data_noise": 1.0, "denoising_weight": 1.0}


def health(**options):
    return Health(TrainConfig(**options).resolved("points"), DATA)


def texts(watch, iterations=200, **metrics):
    """The warnings of iterations that all have these metrics."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for iteration in range(1, iterations + 1):
            watch.look({"iteration": iteration, "energy_gap": 0.0, "chain_std": 1.0, **metrics})
    return [str(w.message) for w in seen]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"chain_std": 2.2}, ["have left the data", "2.2", "--base gaussian", "--learning-rate"]),
        ({"chain_std": 0.4}, ["have collapsed", "0.4", "--learning-rate"]),
        ({"energy_gap": 600.0}, ["600", "1000", "--energy-l2 0.001", "--learning-rate"]),
        ({"energy_gap": -11.0}, ["11 nats lower", "1.4 per dimension", "--langevin-steps"]),
        ({"energy_gap": 11.0}, ["11 nats higher", "--learning-rate"]),
        ({"acceptance": 0.005}, ["0.005", "--step-size than 0.005"]),
    ],
)
def test_each_sign_is_warned_of_once_with_its_cure(metrics, words):
    watch = health()
    first, *_ = found = texts(watch, **metrics)
    assert len(found) == len(set(found)) == len(watch.failures())
    assert first.startswith("iteration 150: ")
    for word in words:
        assert word in first
    assert texts(watch, **metrics) == []


@pytest.mark.parametrize(
    "metrics",
    [{}, {"chain_std": 1.9}, {"chain_std": 0.55}, {"energy_gap": 9.5}, {"acceptance": 0.02}],
)
def test_a_run_that_learns_is_not_warned_of(metrics):
    watch = health()
    assert texts(watch, **metrics) == []
    assert watch.failures() == []


def test_chains_that_come_from_noise_are_not_warned_of():
    watch = health()
    assert texts(watch, 99, energy_gap=60.0) == []
    assert len(watch.failures()) == 1  # but a run that ends here has not learned
    assert texts(watch, 200) == []
    watch = health()
    for iteration in range(300):  # a warm-up, in which the chains rest
        watch.look({"iteration": iteration, "chain_std": 1.0})
    assert texts(watch, 149, energy_gap=60.0) == []
    assert len(texts(watch, 1, energy_gap=60.0)) == 1


def test_what_passes_is_no_failure_in_the_end():
    watch = health()
    assert len(texts(watch, energy_gap=60.0)) == 1
    assert len(watch.failures()) == 1
    texts(watch, 20)
    assert len(watch.failures()) == 1  # the mean of 50 iterations is still 36
    texts(watch, 30)
    assert watch.failures() == []


def test_the_noise_of_the_data_counts_for_their_spread():
    assert len(texts(health(), chain_std=3.0)) == 1
    assert texts(health(data_noise=1.5), chain_std=3.0) == []


def test_the_denoising_loss_is_a_cure_where_data_have_noise():
    (text,) = texts(health(data_noise=1.0), chain_std=4.0)
    assert "Try --base gaussian, --denoising-weight 10 with a --warm-up, a smaller" in text
    for options in ({}, {"data_noise": 1.0, "denoising_weight": 1.0}):
        (text,) = texts(health(**options), chain_std=4.0)
        assert "--denoising-weight" not in text


def test_a_run_that_was_short_is_told_so_first():
    for options in ({"iterations": 299}, {"iterations": 310, "warm_up": 11, **DENOISING}):
        for metrics in ({"chain_std": 4.0}, {"energy_gap": 60.0}):
            (text, *_) = texts(health(**options), **metrics)
            assert f"Try more --iterations than {options['iterations']}, " in text
    (text,) = texts(health(iterations=300), chain_std=4.0)
    assert "--iterations" not in text


def test_chains_that_are_held_are_not_told_to_be_held():
    (text,) = texts(health(base="gaussian"), chain_std=3.0)
    assert "--base" not in text


def test_short_runs_and_runs_without_chains_are_not_judged():
    watch = health()
    assert texts(watch, 49, chain_std=9.0) == []
    assert watch.failures() == []
    watch = health()
    for iteration in range(60):
        watch.look({"iteration": iteration, "loss": 1.0})
    assert watch.failures() == []


@pytest.mark.parametrize(
    ("virial", "options", "words"),
    [
        (1.3, {}, ["1.3", "wider", "Try a smaller --step-size than 0.005", "--langevin-steps"]),
        (0.7, {}, ["0.7", "narrower", "--langevin-steps than 20"]),
        (3.4, {"error_feedback": False}, ["3.4", "Try --error-feedback, a smaller"]),
        (3.4, {"error_feedback": False, "compressor": "none"}, ["Try a smaller"]),
    ],
)
def test_a_virial_that_is_off_for_long_is_a_caution_and_no_failure(virial, options, words):
    watch = health(**options)
    assert texts(watch, 648, virial=virial) == []
    (text,) = texts(watch, 300, virial=virial)
    assert text.startswith("iteration 1: ")
    for word in ["1 for samples of the model", *words]:
        assert word in text
    assert watch.failures() == []


def test_a_virial_that_comes_back_or_is_off_in_the_beginning_is_not_warned_of():
    watch = health()
    assert texts(watch, 149, virial=9.0) == []
    assert texts(watch, 250, virial=1.5) == []
    assert texts(watch, 400, virial=0.9) == []
    assert texts(health(), 1000) == []  # there is none


RUN = ["--data", "eight-gaussians", "--chains", 16, "--batch-size", 16, "--ais-steps", 0]


def test_a_run_that_learns_nothing_has_its_own_exit_status(effebm, tmp_path):
    flags = ["--langevin-steps", 1, "--step-size", 1.0, "--out", tmp_path / "a"]
    status, _, error = effebm("train", *RUN, *flags, "--iterations", 160, "--learning-rate", 1e-9)
    assert status == 3
    assert error.count("effebm: warning: iteration") == 1
    assert "effebm: error: nothing was learned: the chains have left the data" in error
    metrics = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").open()]
    assert metrics[0]["chain_std"] < metrics[-1]["chain_std"]
    assert (tmp_path / "a" / "checkpoint.pt").exists()


def test_the_gaussian_base_holds_the_chains(effebm, tmp_path):
    flags = ["--langevin-steps", 1, "--step-size", 1.0, "--iterations", 60, "--out", tmp_path / "a"]
    held = ["--base", "gaussian", "--learning-rate", 1e-9]
    assert effebm("train", *RUN, *flags, *held)[0] == 0


def test_a_resumed_run_is_judged_by_all_of_it(effebm, tmp_path):
    flags = ["--langevin-steps", 1, "--step-size", 1.0, "--iterations", 60, "--learning-rate", 1e-9]
    run = tmp_path / "a"
    flags = [*RUN, *flags, "--checkpoint-every", 10, "--out", run]
    assert effebm("train", *flags, stop_after=45)[0] != 0
    status, _, error = effebm("train", "--resume", run)
    assert status == 3
    assert "nothing was learned" in error

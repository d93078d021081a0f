"""Held-out data, hooks in training, and the evaluation of whole runs."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from helpers import normal
from PIL import Image

from effebm_ext.runs.command_line import commands
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.evaluation.ood import out_of_distribution
from effebm_ext.runs.evaluation.results import ClassEvaluation
from effebm_ext.runs.evaluation.saved import read_evaluation, save_evaluation
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.model import load_model
from effebm_ext.runs.trainer import make_dataset, make_trainer

WAYS = ("bennett", "forward", "reverse")
POINTS = Dataset("points", normal(50, 2), is_image=False)
TINY = TrainConfig(
    data="points", chains=8, langevin_steps=2, iterations=4, batch_size=4, compressor="topk:1",
    ais_steps=8, ema_decay=0.9,
)  # fmt: skip
FLAGS = ["--data", "rings", "--compressor", "topk:1", "--chains", "8", "--langevin-steps", "2",
         "--iterations", "4", "--batch-size", "4"]  # fmt: skip


def test_a_split_has_every_row_once():
    train, held_out = POINTS.split(0.25, seed=3)
    assert (len(train.x), len(held_out.x)) == (38, 12)
    both = torch.cat([train.x, held_out.x])
    assert torch.equal(both.sort(0).values, POINTS.x.sort(0).values)
    assert torch.equal(POINTS.split(0.25, seed=3)[1].x, held_out.x)
    assert not torch.equal(POINTS.split(0.25, seed=4)[1].x, held_out.x)
    assert len(POINTS.split(0.0, seed=3)[1].x) == 0
    assert not torch.equal(POINTS.split(0.0, seed=3)[0].x, POINTS.x)  # in random order
    for holdout in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="holdout: expected 0 <= holdout < 1, got"):
            POINTS.split(holdout, seed=0)


def test_the_trainer_does_not_see_what_is_held_out():
    config = dataclasses.replace(TINY, holdout=0.5)
    train, held_out = POINTS.split(0.5, seed=TINY.seed)
    changed = POINTS.x.clone()
    changed[(POINTS.x[:, None] == held_out.x).all(2).any(1)] = 1e6
    trainers = [make_trainer(config, Dataset("points", x, False)) for x in (POINTS.x, changed)]
    assert torch.equal(trainers[0].data[:], train.x)
    assert trainers[0].iteration() == trainers[1].iteration()


def state_after(hook, evaluate_every, *, iterations=4):
    config = dataclasses.replace(TINY, evaluate_every=evaluate_every)
    torch.manual_seed(0)
    trainer = make_trainer(config, POINTS, hook=hook)
    torch.manual_seed(1)
    metrics = [trainer.iteration() for _ in range(iterations)]
    return trainer.state_dict(), metrics, torch.get_rng_state()


def draws_much(trainer):
    noise = torch.randn(1000)
    loss = trainer.model(noise.view(-1, 2)).sum()
    loss.backward()
    return {"drawn": float(noise[0])}


@pytest.mark.parametrize("hook", [None, draws_much], ids=["cross-entropy", "own"])
def test_a_hook_joins_the_metrics_and_leaves_the_run_alone(hook):
    state, metrics, random_state = state_after(hook, 2)
    plain, plain_metrics, plain_random_state = state_after(hook, 0)
    torch.testing.assert_close(state, plain, rtol=0, atol=0)
    assert torch.equal(random_state, plain_random_state)
    names = {f"cross_entropy_{way}" for way in WAYS} if hook is None else {"drawn"}
    for i, (seen, seen_without) in enumerate(zip(metrics, plain_metrics, strict=True)):
        assert seen.keys() - seen_without.keys() == (names if i % 2 else set())
        assert {name: seen[name] for name in seen_without} == seen_without


def test_bad_hooks_and_configurations_are_refused():
    with pytest.raises(ValueError, match="holdout: expected 0 <= holdout < 1, got 1"):
        dataclasses.replace(TINY, holdout=1.0)
    with pytest.raises(ValueError, match=r"holdout: expected a finite number >= 0, got -0\.5"):
        dataclasses.replace(TINY, holdout=-0.5)
    with pytest.raises(ValueError, match="ais_steps: expected > 0 to evaluate every 2 iter"):
        dataclasses.replace(TINY, evaluate_every=2, ais_steps=0)
    trainer = make_trainer(TINY, POINTS)
    with pytest.raises(ValueError, match="hook_every: expected at least 1, got 0"):
        type(trainer)(trainer.energy, trainer.optimizer, trainer.objective, trainer.data,
                      batch_size=2, hook_every=0)  # fmt: skip


@pytest.mark.parametrize("holdout", [0.0, 0.25])
def test_the_cross_entropy_of_the_true_density_is_its_entropy(holdout):
    # Data N(0, 1) in three dimensions, noise 0.75: the sum has variance 1.25^2.
    config = TrainConfig(data="x", holdout=holdout, data_noise=0.75, ais_steps=200)
    dataset = Dataset("x", normal(4000, 3), is_image=False)
    got = evaluate(
        config, dataset, lambda x: x.square().sum(1) / (2 * 1.25**2), 1.25 * normal(128, 3, seed=1),
        two_sample=True, ood="noise",
    )  # fmt: skip
    entropy = 1.5 * math.log(2 * math.pi * math.e * 1.25**2)
    assert (got.held_out, got.n_data, got.dimensions) == (
        (True, 1000, 3) if holdout else (False, 4000, 3)
    )
    assert ("held-out" if holdout else "training") in got.rows()
    assert "with noise of 0.75 added" in got.summary()
    for way in WAYS:
        value, error = (getattr(got, f"cross_entropy_{way}{e}") for e in ("", "_error"))
        assert abs(value - entropy) < 3 * error < 0.15
    assert got.log_z_bennett_error < min(got.log_z_forward_error, got.log_z_reverse_error)
    assert f" added: {got.cross_entropy_bennett:.2f} ± " in got.summary()
    assert got.gap == pytest.approx(got.cross_entropy_reverse - got.cross_entropy_forward)
    assert abs(got.gap) < 4 * got.gap_error + 0.01
    assert got.bits_per_dimension(3 * math.log(2)) == pytest.approx(1)
    assert got.mmd2_p_value > 0.01
    assert got.auroc == pytest.approx(0.5, abs=0.05)  # noise as wide as the data


def test_a_run_reports_its_cross_entropy_and_evaluate_repeats_it(effebm, tmp_path):
    run = tmp_path / "run"
    flags = [*FLAGS, "--ais-steps", "8", "--holdout", "0.05", "--ema-decay", "0.5", "--out", run]
    status, printed, _ = effebm("train", *flags)
    assert status == 0
    assert "Cross-entropy of 500 held-out rows: " in printed
    first = json.loads((run / "evaluation.json").read_text())
    assert (first["mmd2"], first["auroc"], first["ais_steps"]) == (None, None, 8)
    status, printed, _ = effebm("evaluate", run, "--ood", "permuted")
    assert status == 0
    again = json.loads((run / "evaluation.json").read_text())
    changed = {name for name in first if first[name] != again[name]}
    assert changed == {"mmd2", "mmd2_null_std", "mmd2_p_value", "ood", "auroc"}
    for words in ("500 held-out rows, 2 dimensions", "cross-entropy, Bennett",
                  "cross-entropy, forward", "bits/dim", "gap",
                  "acceptance", "ESS of the weights", "MMD^2", "AUROC, permuted"):  # fmt: skip
        assert words in printed
    assert load_model(run).state.x.shape == (8, 2)


def test_an_older_model_does_not_replace_a_newer_evaluation(effebm, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "older.json"
    assert effebm("train", *FLAGS, "--ais-steps", 3, "--out", run)[0] == 0

    def meanwhile(*args, **kwargs):
        more = load_model(run).config.iterations + 1
        assert effebm("train", "--resume", run, "--iterations", more, "--ais-steps", 2)[0] == 0
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(commands, "evaluate_energy", meanwhile)
    status, printed, complaint = effebm("evaluate", run)
    assert (status, "cross-entropy, forward" in printed) == (0, True)
    assert "Nothing was saved, as the run has gone on meanwhile: this is its eval" in complaint
    assert "at iteration 4, and its checkpoint is of iteration 5: --out FILE saves" in complaint
    assert json.loads((run / "evaluation.json").read_text())["ais_steps"] == 2
    status, _, complaint = effebm("evaluate", run, "--ais-steps", 4, "--out", out)
    assert (status, "Nothing was saved" in complaint) == (0, False)
    assert json.loads(out.read_text())["ais_steps"] == 4


def test_no_evaluation_where_none_is_wanted_but_on_demand(effebm, tmp_path):
    run = tmp_path / "run"
    flags = [*FLAGS, "--ais-steps", "0", "--holdout", "0", "--out", run]
    status, *printed = effebm("train", *flags)
    assert (status, "ross-entropy" in "".join(printed)) == (0, False)
    assert not (run / "evaluation.json").exists()
    options = ["--ais-steps", "5", "--ais-chains", "20", "--seed", "3"]
    status, printed, _ = effebm("evaluate", run, *options)
    assert (status, "10000 training rows" in printed) == (0, True)
    result = json.loads((run / "evaluation.json").read_text())
    assert (result["ais_steps"], result["ais_chains"], result["seed"]) == (5, 20, 3)


def test_evaluations_stand_among_the_metrics(effebm, tmp_path):
    run = tmp_path / "run"
    status, *_ = effebm("train", *FLAGS, "--ais-steps", "8", "--evaluate-every", "3", "--out", run)
    assert status == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert ["cross_entropy_reverse" in line for line in lines] == [False, False, True, False]
    config = checkpoint.load(run / "checkpoint.pt")["config"]
    assert config["evaluate_every"] == 3


def test_bad_evaluations_are_refused_and_leave_the_old_one(effebm, tmp_path):
    run, file = tmp_path / "run", tmp_path / "data.npy"
    np.save(file, normal(60, 2).numpy())
    assert effebm("train", *FLAGS, "--data", file, "--ais-steps", "3", "--out", run)[0] == 0
    before = (run / "evaluation.json").read_bytes()
    for arguments, message in (
        ([tmp_path / "none"], "none holds no run"),
        ([run, "--ood", "digits"], "ood: expected events of shape (2,), got (1, 8, 8) from"),
        ([run, "--ood", "nothing"], "ood: expected permuted, noise or a source of data, got"),
        ([run, "--ood", "nothing"], "got 'nothing': data: expected digits"),
        ([run, "--ood", "permute"], "got 'permute': did you mean permuted?"),
        ([run, "--ood", "no.npy"], "ood: expected permuted, noise or a source of data, got"),
        ([run, "--ais-steps", "0"], "0 is not in the range x>=1"),
        ([run, "--ais-chains", "1"], "1 is not in the range x>=2"),
    ):
        status, _, printed = effebm("evaluate", *arguments)
        assert (status, message in printed) == (2, True), printed
    np.save(file, normal(60, 2, seed=1).numpy())
    status, _, printed = effebm("evaluate", run)
    assert (status, "has changed since the run began" in printed) == (2, True)
    assert (run / "evaluation.json").read_bytes() == before


def test_what_is_unknown_is_null_in_a_file_and_infinite_again(effebm, tmp_path):
    run, file = tmp_path / "run", tmp_path / "data.npy"
    np.save(file, normal(60, 2).numpy())
    flags = ["--data", file, "--holdout", 0.02, "--ais-steps", 3, "--out", run]  # a single row
    assert effebm("train", *FLAGS, *flags)[0] == 0
    text = (run / "evaluation.json").read_text()
    found = json.loads(text, parse_constant=pytest.fail)
    assert (found["n_data"], found["cross_entropy_bennett_error"]) == (1, None)
    assert "± unknown nats" in (run / "report.html").read_text()
    back = read_evaluation(run / "evaluation.json")
    assert (back.cross_entropy_bennett_error, back.mmd2) == (math.inf, None)
    of_class = ClassEvaluation(0, 1.0, 2.0, 0.1, 2.0, math.inf)
    some = dataclasses.replace(back, classes=(of_class,), virial=math.nan, gap_error=math.inf)
    save_evaluation(file, some)
    again = read_evaluation(file)
    assert math.isnan(again.virial)
    assert dataclasses.replace(again, virial=0.0) == dataclasses.replace(some, virial=0.0)
    (run / "evaluation.json").write_text(text.replace("null", "Infinity", 1))  # earlier releases
    assert read_evaluation(run / "evaluation.json") == back


def test_permuted_rows_keep_their_elements():
    x = normal(20, 1, 3, 3)
    got = out_of_distribution("permuted", x, seed=0)(torch.Generator().manual_seed(0))
    assert got.shape == x.shape
    assert not torch.equal(got, x)
    assert torch.equal(got.flatten(1).sort(1).values, x.flatten(1).sort(1).values)
    rings = out_of_distribution("rings", normal(5, 2), seed=0)(torch.Generator())
    assert rings.shape == (10_000, 2)


def test_other_images_get_the_size_of_the_data(tmp_path):
    """Whatever their sizes, and though the data of a run need not be a folder of images."""
    for number, side in enumerate([4, 6, 9]):
        Image.new("L", (side, 4), 255 * (number % 2)).save(tmp_path / f"{number}.png")
    others = out_of_distribution(f"images:{tmp_path}", normal(5, 1, 4, 3), seed=0)
    assert others(torch.Generator()).shape == (3, 1, 4, 3)
    with pytest.raises(ValueError, match=r"ood: expected events of shape \(3, 4, 3\), got \(1, 4"):
        out_of_distribution(f"images:{tmp_path}", normal(5, 3, 4, 3), seed=0)


@pytest.mark.filterwarnings("ignore:.*standard deviation")  # of one colour
def test_others_have_the_background_of_the_run(tmp_path):
    for number in range(8):
        Image.new("LA", (2, 2), (0, 0)).save(tmp_path / f"{number}.png")
    config = TrainConfig(data=f"images:{tmp_path}", background="black", holdout=0)
    data = make_dataset(config)
    found = evaluate(
        config.resolved(data.kind), data, lambda x: 50 * (x + 1).square().flatten(1).sum(1),
        normal(8, 1, 2, 2), n_steps=2, n_chains=8, ood=config.data,
    )  # fmt: skip
    assert found.auroc < 0.9  # the same pictures, which would be white and far away


def test_a_gaussian_stands_beside_the_model(effebm, tmp_path):
    """A Gaussian of every element's mean and standard deviation is what a model has to beat."""
    run, file = tmp_path / "run", tmp_path / "data.npy"
    x = normal(60, 2) * torch.tensor([1.0, 0.5]) + 0.3
    np.save(file, x.numpy())
    flags = ["--data", file, "--holdout", 0, "--ais-steps", 3, "--data-noise", 0]
    status, shown, _ = effebm("train", *FLAGS, *flags, "--out", run)
    assert status == 0
    found = json.loads((run / "evaluation.json").read_text())["cross_entropy_gaussian"]
    want = float((x.std(0, correction=0).log() + 0.5 + 0.5 * np.log(2 * np.pi)).sum())
    assert found == pytest.approx(want, abs=1e-4)  # float32
    assert f"lower is better (a Gaussian has {want:.2f} nats); the estimate is " in shown
    assert f"{want:>20.3f}{want / 2:>12.4f}" in effebm("evaluate", run, "--ais-steps", 3)[1]

"""Samples of trained runs: which are distinct, what they start from, and what is said of them."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from helpers import normal
from PIL import Image

from effebm_ext.rng import Key
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.model import TrainedModel, load_model
from effebm_ext.runs.showing import plotting
from effebm_ext.runs.showing.plotting import n_shown
from effebm_ext.samplers import LangevinState

RUN = ["train", "--data", "two-moons", "--chains", 6, "--langevin-steps", 2, "--iterations", 2,
       "--batch-size", 4, "--ais-steps", 0]  # fmt: skip


class HalfSquare(torch.nn.Module):
    def forward(self, x, y=None):
        return x.square().sum(1) / 2


def gaussian_model(n_chains, *, step_size=0.5):
    """Chains of N(0, I) in 20 dimensions."""
    config = TrainConfig(compressor="none", step_size=step_size).resolved("points")
    state = LangevinState(normal(n_chains, 20), None, Key(0))
    return TrainedModel(config, HalfSquare(), state, normal(50, 20, seed=1), False, "")


@pytest.fixture
def run(effebm, tmp_path):
    """A run of 6 chains, of which some of each class."""
    assert effebm(*RUN, "--conditional", "--out", tmp_path / "run")[0] == 0
    return tmp_path / "run"


@pytest.fixture
def sample(effebm, run, tmp_path):
    """Samples of the run by the command line: (status, array or None, printed, complaints)."""

    def draw(*flags, out="x.npy"):
        status, printed, complaints = effebm("sample", run, *flags, "--out", tmp_path / out)
        array = np.load(tmp_path / out) if status == 0 and out.endswith("npy") else None
        return status, array, printed, complaints

    return draw


def test_chains_at_rest_are_taken_once_each(sample, run):
    chains = load_model(run).samples.numpy()
    status, x, printed, complaints = sample()
    assert (status, complaints) == (0, "")
    assert np.array_equal(x, chains)
    assert "6 samples in " in printed
    assert "chains as training left them" in printed
    assert np.array_equal(sample("--n", 4)[1], chains[:4])
    status, _, _, complaints = sample("--n", 7)
    assert status == 2
    assert "n: expected at most 6 at 0 steps, the run has no more chains, got 7" in complaints


@pytest.mark.parametrize(
    ("flags", "reached"),
    [
        (["--langevin-steps", 2], 0.001),  # half of the run
        (["--langevin-steps", 2, "--step-size-schedule", "iteration"], 0.0001),
        (["--langevin-steps", 1, "--step-size-schedule", "iteration"], 0.01),  # its only step's
    ],
)
def test_samples_have_the_step_size_that_training_reached(effebm, tmp_path, flags, reached):
    falling = ["--step-size", 0.01, "--step-size-end", 0.0001, "--iterations", 4, *flags]
    saving = ["--checkpoint-every", 2, "--out", tmp_path / "run"]
    assert effebm(*RUN, *falling, *saving, stop_after=3)[0] == 130
    model = load_model(tmp_path / "run")
    constant = dataclasses.replace(model.config, step_size=reached, step_size_end=None)
    want = dataclasses.replace(model, config=constant)
    assert torch.allclose(model.sample(6, 3), want.sample(6, 3), rtol=0, atol=1e-6)
    if "iteration" not in flags:  # the last step was larger than the next
        constant = dataclasses.replace(constant, step_size=0.01 * 0.01 ** (3 / 8))
        want = dataclasses.replace(model, config=constant)
    assert torch.allclose(model.samples, want.samples, rtol=0, atol=1e-7)
    other = dataclasses.replace(model, config=dataclasses.replace(constant, step_size=0.02))
    assert not torch.allclose(model.samples, other.samples, rtol=0, atol=1e-6)


def test_a_run_that_stopped_in_its_warm_up_says_so(effebm, tmp_path):
    warm_up = ["--denoising-weight", 1, "--data-noise", 0.1, "--warm-up", 2]
    assert effebm(*RUN, *warm_up, "--out", tmp_path / "run")[0] == 0
    flags = ["--out", tmp_path / "x.npy", "--n", 4]
    said = "the run stopped before its chains first moved, and they are still where they started"
    assert f"left them ({said})" in effebm("sample", tmp_path / "run", *flags)[1]
    assert (
        f"chains ({said}), moved by 1 "
        in effebm("sample", tmp_path / "run", *flags, "--steps", 1)[1]
    )
    assert said not in effebm("sample", tmp_path / "run", *flags, "--from-noise", "--steps", 1)[1]
    more = ["--out", tmp_path / "x.npy", "--n", 8, "--steps", 1]
    assert f"copies of 6 chains ({said})" in effebm("sample", tmp_path / "run", *more)[1]
    shown = effebm("evaluate", tmp_path / "run", "--ais-steps", 2)[1]
    assert shown.startswith(f"Caution: {said}. ")
    assert effebm("train", "--resume", tmp_path / "run", "--iterations", 3)[0] == 0
    assert said not in effebm("sample", tmp_path / "run", *flags)[1]


def test_a_run_without_a_checkpoint_says_when_the_first_comes(effebm, run, tmp_path):
    (run / "checkpoint.pt").unlink()
    status, _, error = effebm("sample", run, "--out", tmp_path / "x.npy")
    assert status == 2
    assert f"run: {run} has no checkpoint yet; the first one comes at iteration 100" in error


def test_a_class_has_its_own_chains_to_take(sample, run):
    own = int((load_model(run).state.energy_kwargs["y"] == 1).sum())
    assert sample("--label", 1)[1].shape == (own, 2)
    complaints = sample("--label", 1, "--n", own + 1)[3]
    assert f"expected at most {own} at 0 steps, the run has no more chains of class 1" in complaints
    x, printed = sample("--label", 1, "--n", own + 1, "--steps", 3)[1:3]
    assert len(np.unique(x, axis=0)) == own + 1
    assert f"copies of {own} chains, moved by 3 steps" in printed


def test_what_has_no_effect_is_refused(sample):
    complaints = sample("--seed", 0)[3]
    assert "seed: expected none at 0 steps, where no noise is added, got 0" in complaints
    for flags in (["--from-noise"], ["--from-noise", "--label", 0, "--seed", 3]):
        status, _, _, complaints = sample(*flags)
        assert status == 2
        assert "steps: expected at least 1 from noise" in complaints


def test_the_seed_decides_the_noise_of_steps(sample):
    default, zero, one = (sample("--steps", 2, *seed)[1] for seed in ([], ["--seed", 0],
                                                                     ["--seed", 1]))  # fmt: skip
    assert np.array_equal(default, zero)
    assert not np.array_equal(zero, one)
    zero, one = (sample("--steps", 1, "--from-noise", "--seed", s)[1] for s in (0, 1))
    assert np.abs(zero - one).min(1).min() > 0
    assert len(zero) == 64


def test_a_picture_says_how_many_it_shows(sample, effebm, tmp_path):
    assert "shows" not in sample("--n", 2000, "--steps", 1, out="x.png")[2]
    printed = sample("--n", 2001, "--steps", 1, out="x.png")[2]
    assert "2001 samples in " in printed
    assert "x.png, which shows 2000 of them: copies of 6 chains, moved by 1 steps" in printed
    assert n_shown(torch.zeros(100, 1, 8, 8), is_image=True) == 64
    assert n_shown(torch.zeros(50, 1, 8, 8), is_image=True) == 50
    assert n_shown(torch.zeros(5000, 1), is_image=False) == 5000


def test_copies_that_are_alike_are_told_from_those_that_are_not():
    model = gaussian_model(50)
    with pytest.warns(UserWarning, match="400 samples are copies of 50 chains, and after 1 steps "):
        model.sample(400, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(model.sample(400, 60).unique(dim=0)) == 400
        model.sample(50, 1)
        model.sample(400, 1, from_noise=True)


def told(model, n, label=None):
    """The correlation of copies after one step, and what samples are worth, as a warning says."""
    with pytest.warns(UserWarning, match="still correlate by ") as seen:
        model.sample(n, 1, seed=3, label=label)
    words = str(seen[0].message)
    return [float(words.partition(f"{name} ")[2].split()[0].rstrip(":"))
            for name in ("correlate by", "worth about")]  # fmt: skip


def test_chains_of_one_class_are_not_alike_for_being_of_it():
    model = gaussian_model(50)
    model.n_classes, far = 2, 10.0
    model.state.energy_kwargs["y"] = torch.arange(50) % 2
    model.energy.forward = lambda x, y: (x - far * y[:, None]).square().sum(1) / 2
    model.state.x += far * model.state.energy_kwargs["y"][:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample(400, 60)
    assert told(model, 400)[0] == pytest.approx(0.75**2 / (0.75**2 + 0.5), abs=0.04)


@pytest.mark.parametrize("kind", ["many chains", "two chains", "one chain of its class"])
def test_the_correlation_of_copies_is_that_of_theory(kind):
    # A step maps x to (1 - gamma / 2) x + sqrt(gamma) noise.
    model, n_chains, square, label = gaussian_model(50), 50, 1.0, None
    if kind == "two chains":  # their mean is the middle
        model, n_chains, square = gaussian_model(2), 2, 9.0
        model.state.x[:] = torch.tensor([[3.0], [-3.0]])
    if kind == "one chain of its class":  # it is held against the mean of all
        n_chains, square, label = 1, 9.0, 1
        model.n_classes = 2
        model.state.energy_kwargs["y"] = torch.eye(50)[7].long()
        model.state.x[7] = 3.0
    correlation, worth = told(model, 40 * n_chains, label)
    kept = 0.75**2 * square
    assert correlation == pytest.approx(kept / (kept + 0.5), abs=0.04)
    assert worth == pytest.approx(40 * n_chains / (1 + 39 * correlation), rel=0.02, abs=1)


def test_walkers_that_were_resampled_are_told(effebm, tmp_path):
    model = gaussian_model(8)
    model.state.x[5:] = model.state.x[0]
    with pytest.warns(UserWarning, match="only 5 of 8 samples are distinct, as walkers were res"):
        model.sample(8, 0)


def test_warnings_are_lines_of_the_command_line(sample):
    status, _, printed, complaints = sample("--n", 600, "--steps", 1)
    assert status == 0
    assert "600 samples in " in printed
    (line,) = complaints.splitlines()
    assert line.startswith("effebm: warning: 600 samples are copies of 6 chains")


def test_chains_that_are_not_finite_are_no_samples(run, sample, effebm, tmp_path):
    content = checkpoint.load(run / "checkpoint.pt")
    content["trainer"]["chains"]["x"][2, 1] = float("nan")
    checkpoint.save(run / "checkpoint.pt", content)
    for flags, message in (
        ([], "1 of 6 samples are not finite after 0 steps"),
        (
            ["--n", 3, "--steps", 2],
            "1 of 3 chains diverged at step 0: the energy of chain 2 is nan",
        ),
    ):
        status, _, _, complaints = sample(*flags)
        assert (status, message in complaints) == (2, True), complaints
    assert not list(tmp_path.glob("x*"))


def test_python_has_the_same_rules(run):
    model = load_model(run)
    for call, message in (
        (lambda: model.sample(7, 0), "n: expected at most 6 at 0 steps"),
        (lambda: model.sample(0, 1), "n, steps: expected n >= 1 and steps >= 0, got 0 and 1"),
        (lambda: model.sample(2, -1), "got 2 and -1"),
        (lambda: model.sample(2, 0, seed=0), "seed: expected none at 0 steps"),
        (lambda: model.sample(2, 0, from_noise=True), "steps: expected at least 1 from noise"),
        (lambda: model.sample(2, 1, seed=2**64, from_noise=True), "seed: expected -"),
        (lambda: model.n_chains(2), "label: expected 0 to 1, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert model.n_chains() == model.n_chains(0) + model.n_chains(1) == 6
    plain = dataclasses.replace(model, n_classes=None)
    with pytest.raises(ValueError, match="label: expected none, the run is not conditional"):
        plain.n_chains(0)


def test_samples_are_watched_on_their_way(run):
    model, seen = load_model(run), []
    x = model.sample(6, 7, seed=1, watch=lambda x: seen.append(x.clone()))
    assert torch.equal(x, model.sample(6, 7, seed=1))
    assert len(seen) == 8
    for k in (1, 4, 7):
        assert torch.equal(seen[k], model.sample(6, k, seed=1))
    assert torch.equal(seen[0], model.sample(6, 0))
    model.sample(6, 1000, watch=seen.append)
    assert len(seen) == 8 + 61


def test_an_animation_shows_the_samples_on_their_way(sample, tmp_path):
    path = tmp_path / "x.gif"
    assert sample("--steps", 5, "--animate", path)[0] == 0
    with Image.open(path) as animation:
        assert animation.n_frames == 6


@pytest.mark.parametrize(
    ("steps", "name", "message"),
    [
        (0, "x.gif", "animate: expected a .gif file and at least one step, got "),
        (5, "x.png", "animate: expected a .gif file and at least one step, got "),
        (5, "none/x.gif", "animate: no such folder: "),
    ],
)
def test_what_cannot_be_animated_is_refused(sample, tmp_path, steps, name, message):
    status, _, _, error = sample("--steps", steps, "--animate", tmp_path / name)
    assert status == 2
    assert message in error


def test_the_last_frame_is_the_picture(effebm, tmp_path, monkeypatch):
    flags = ["--data", "digits", "--conditional", "--energy", "mlp", "--width", 4]
    assert effebm(*RUN, *flags, "--chains", 12, "--out", tmp_path / "run")[0] == 0
    drawn, draw = [], plotting.draw_samples
    monkeypatch.setattr(
        plotting, "draw_samples", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1]
    )
    out = ["--out", tmp_path / "x.png", "--animate", tmp_path / "x.gif"]
    assert effebm("sample", tmp_path / "run", "--n", 12, "--steps", 1, *out)[0] == 0
    picture, first, last = (figure.axes[0].images[0].get_array() for figure in drawn)
    assert np.array_equal(last, picture)
    assert not np.array_equal(first, picture)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"noise_std": 0.01, "data_noise": 0.3}, "steps of its chains have a noise_std, 0.01"),
        ({"data_noise": 0.0}, "the run added none to its data"),
    ],
)
def test_noise_that_cannot_be_taken_off_is_told(options, why):
    model = gaussian_model(4)
    model.config = dataclasses.replace(model.config, **options)
    with pytest.warns(UserWarning, match=f"denoise: no noise is taken off the samples, as .*{why}"):
        x = model.sample(4, 1, clean=True)
    assert torch.equal(x, model.sample(4, 1))

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from effebm_ext.runs.command_line import cli, commands
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.model import load_model
from effebm_ext.training import Trainer

TINY = ["--chains", "8", "--langevin-steps", "2", "--iterations", "4", "--batch-size", "4",
        "--checkpoint-every", "2", "--ais-steps", "3"]  # fmt: skip
FILES = {
    "config.json",
    "metrics.jsonl",
    "checkpoint.pt",
    "samples.png",
    "samples.gif",
    "samples",
    "curves.png",
    "environment.json",
    "evaluation.json",
    "report.html",
}


@pytest.mark.parametrize("data", ["digits", "rings"])
def test_train_writes_the_whole_run_folder(effebm, tmp_path, data):
    out = tmp_path / "deep" / "run"
    status, printed, _ = effebm("train", "--data", data, *TINY, "--out", out)
    assert status == 0
    assert f"look at {out / 'report.html'} in a browser" in printed
    assert {p.name for p in out.iterdir()} == FILES
    config = json.loads((out / "config.json").read_text())
    assert (config["data"], config["chains"], config["error_feedback"]) == (data, 8, True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert {"energy_gap", "loss", "grad_norm", "seconds"} <= set(lines[0])
    for picture in ("samples.png", "curves.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    model = load_model(out)
    assert model.state.x.shape[0] == 8
    assert model.state.step == 8


@pytest.mark.parametrize(
    ("flags", "taken", "steps"),
    [
        ([], "eager", None),
        (["--shards", 2, "--gradient-dtype", "bfloat16"], "eager, bfloat16", None),
        (["--cuda-graph", "--buffer-size", 16], "eager", "uncaptured"),
        (["--objective", "jarzynski", "--gradient-dtype", "float16"], "eager, float16", None),
        (["--objective", "fd-ssm"], "eager", None),
    ],
)
def test_a_run_says_how_its_steps_were_made(effebm, tmp_path, flags, taken, steps):
    status, _, error = effebm("train", "--data", "rings", *TINY, *flags, "--out", tmp_path)
    assert status == 0, error
    found = json.loads((tmp_path / "environment.json").read_text())
    assert (found["gradient"], found["steps"]) == (taken, steps)
    assert found["torch"] == torch.__version__


def test_the_same_command_gives_the_same_run(effebm, tmp_path):
    for name in "ab":
        effebm("train", "--data", "rings", *TINY, "--seed", "3", "--out", tmp_path / name)
    a, b = (checkpoint.load(tmp_path / name / "checkpoint.pt")["trainer"] for name in "ab")
    assert torch.equal(a["chains"]["x"], b["chains"]["x"])
    assert all(torch.equal(a["energy"][k], b["energy"][k]) for k in a["energy"])


@pytest.mark.parametrize("flags", [["--compressor", "none"], ["--no-error-feedback"],
                                   ["--compressor", "topk:0.5"]])  # fmt: skip
def test_compressors_by_flag(effebm, tmp_path, flags):
    status, *_ = effebm("train", "--data", "rings", *TINY, *flags, "--out", tmp_path / "r")
    assert status == 0
    residual = load_model(tmp_path / "r").state.residual
    assert (residual is None) == (flags != ["--compressor", "topk:0.5"])


def test_clip_by_flag(effebm, tmp_path):
    out = tmp_path / "run"
    flags = ["--clip", "norm:0.5", "--compressor", "none"]
    assert effebm("train", "--data", "rings", *TINY, *flags, "--out", out)[0] == 0
    assert load_model(out).config.clip == "norm:0.5"


def test_sample_from_chains_and_from_noise(effebm, tmp_path):
    run_folder, array = tmp_path / "run", tmp_path / "x.npy"
    effebm("train", "--data", "digits", *TINY, "--out", run_folder)
    chains = load_model(run_folder).samples
    assert effebm("sample", run_folder, "--out", array)[0] == 0
    assert np.array_equal(np.load(array), chains.numpy())
    assert (
        effebm("sample", run_folder, "--n", 5, "--steps", 3, "--from-noise", "--out", array)[0] == 0
    )
    assert np.load(array).shape == (5, 1, 8, 8)
    noisy = np.load(array)
    flags = ("--n", 5, "--steps", 3, "--from-noise", "--denoise")
    assert effebm("sample", run_folder, *flags, "--out", array)[0] == 0
    assert 0 < np.abs(np.load(array) - noisy).max() < 1
    assert effebm("sample", run_folder / "checkpoint.pt", "--out", tmp_path / "x.png")[0] == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_info_names_what_is_installed(effebm):
    status, printed, _ = effebm("info")
    assert status == 0
    for word in ("effebm_ext", torch.__version__, "CPU kernels", "CUDA kernels"):
        assert word in printed


def test_python_m_runs_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "effebm_ext", "info"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "CPU kernels" in done.stdout


@pytest.fixture
def bad_npy(tmp_path):
    path = tmp_path / "bad.npy"
    np.save(path, np.array([[0.0, np.nan]]))
    return path


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "missing.npy"], "data: no such file: "),
        (["--data", "nothing"], "data: expected digits"),
        (["--data", "digit"], "got 'digit': did you mean digits?"),
        (["--recipe", "image"], "got 'image': did you mean images?"),
        (["--objective", "contrastiv"], "did you mean contrastive?"),
        (["--optimizer", "adm"], "got 'adm': did you mean adam?"),
        (["--compressor", "topkk:0.1"], "got 'topkk:0.1': did you mean topk:0.1?"),
        (["--clip", "vale:5"], "got 'vale:5': did you mean value:5?"),
        (["--energy", "resnt"], "got 'resnt': did you mean resnet?"),
        (["x.npy"], "expected options only, got x.npy: did you mean --data x.npy?"),
        (["--data", "BAD"], "data: expected finite values"),
        (["--data", "rings", "--compressor", "topk:3"], "k: expected 0 <= k <= 2"),
        (["--compressor", "huffman"], "compressor: expected none"),
        (["--clip", "value"], "clip: 'value': expected value:LIMIT"),
        (["--clip", "norm:x"], "clip: 'norm:x': expected norm:LIMIT"),
        (["--clip", "value:0"], "clip: 'value:0': limit: expected a positive finite number"),
        (["--step-size", "-1"], "step_size: expected a finite number > 0, got -1.0"),
        (["--step-size", "abc"], "'abc' is not a valid float"),
        (["--energy", "conv", "--data", "rings"], "got 'conv': event_shape: expected (ch"),
        (["--energy", "transformer"], "energy: expected auto"),
        (["--energy", "resnet", "--data", "rings"], "width), got (2,), which are points"),
        (["--device", "cuda:9"], "device: 'cuda:9' is unknown or not available"),
        (["--buffer-size", "8", "--buffer-device", "toaster"], "buffer_device: 'toaster' is unkn"),
        (["--device", "toaster"], "device: 'toaster' is unknown or not available"),
        (["--nonsense"], "--nonsense"),
        # what fails in the first iteration, after all arguments were accepted
        (["--step-size", "1e300"], "step_size: expected a finite number >= 0"),
        (["--data-noise", "1e300"], "iteration 1: "),
        (["--seed", "18446744073709551616"], "seed: expected a 64-bit integer"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_results_alone(
    effebm, tmp_path, bad_npy, flags, message
):
    out = tmp_path / "run"
    effebm("train", "--data", "rings", *TINY, "--out", out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    flags = [str(bad_npy) if flag == "BAD" else flag for flag in flags]
    status, _, complaint = effebm("train", *TINY, *flags, "--out", out, "--overwrite")
    assert status != 0
    *progress, line = complaint.splitlines()
    assert line.startswith("effebm: error: ")
    assert message in line
    assert all("it/s" in p or not p.strip() for p in progress)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_no_command_shows_the_help(effebm):
    status, printed, complaint = effebm()
    assert (status, complaint) == (0, "")
    assert all(f"\n  {name}  " in printed for name in ("train", "sample", "evaluate", "info"))


@pytest.mark.parametrize(
    ("typed", "meant"), [(["trian"], "'train'"), (["train", "--chain", 3], "'--chains'")]
)
def test_a_typing_error_is_told_what_was_meant(effebm, typed, meant):
    status, _, complaint = effebm(*typed)
    assert status == 2
    assert "Did you mean" in complaint
    assert meant in complaint
    assert len(complaint.splitlines()) == 1


def test_a_missing_key_is_called_that(effebm, monkeypatch):
    def lacking(path):
        raise KeyError("seconds")

    monkeypatch.setattr(commands, "load_model", lacking)
    status, _, complaint = effebm("evaluate", "run")
    assert (status, complaint) == (2, "effebm: error: KeyError('seconds')\n")


def test_a_checkpoint_of_something_else_is_refused(effebm, tmp_path):
    checkpoint.save(tmp_path / "c.pt", {"x": torch.zeros(2)})
    status, _, complaint = effebm("sample", tmp_path / "c.pt", "--out", tmp_path / "x.npy")
    assert status != 0
    assert "is not of a training run" in complaint


def test_samples_of_the_chains_go_on_with_their_residuals(effebm, tmp_path):
    effebm("train", "--data", "rings", *TINY, "--out", tmp_path / "run")
    model = load_model(tmp_path / "run")
    moved = model.sample(8, 1, seed=0)
    model.state.residual.zero_()
    assert not torch.equal(moved, model.sample(8, 1, seed=0))


def test_a_run_is_overwritten_only_when_asked(effebm, tmp_path):
    out = tmp_path / "run"
    command = ["train", "--data", "rings", *TINY, "--out", out]
    assert effebm(*command)[0] == 0
    status, _, complaint = effebm(*command)
    assert status != 0
    assert "already holds a run" in complaint
    assert effebm(*command, "--overwrite")[0] == 0


def test_divergence_names_the_iteration_and_the_last_good_checkpoint(effebm, tmp_path, monkeypatch):
    iteration = Trainer.iteration

    def poisoned(trainer):
        if trainer.iterations == 3:
            trainer.chains.state.x.fill_(float("nan"))
        return iteration(trainer)

    monkeypatch.setattr(Trainer, "iteration", poisoned)
    out = tmp_path / "run"
    status, _, complaint = effebm("train", "--data", "rings", *TINY, "--out", out)
    assert status != 0
    assert "iteration 4: " in complaint
    assert "is nan" in complaint
    assert f"the last good checkpoint is {out / 'checkpoint.pt'} of iteration 2" in complaint
    assert load_model(out).state.x.isfinite().all()
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "run: nowhere holds no run"),
        (["."], "run: . holds no run"),
        (["broken.pt"], "truncated or not a checkpoint"),
        (["broken.pt", "--n", "0"], "0 is not in the range x>=1"),
    ],
)
def test_sample_refuses_bad_input(effebm, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 no more")
    status, _, complaint = effebm("sample", *arguments, "--out", "x.npy")
    assert status != 0
    assert message in complaint
    assert not (tmp_path / "x.npy").exists()


def test_samples_come_from_the_average_at_the_last_step_size(effebm, tmp_path):
    run = tmp_path / "run"
    options = ["--ema-decay", "0.5", "--step-size", "0.02", "--step-size-end", "0.005"]
    assert effebm("train", "--data", "rings", "--out", run, *TINY, *options)[0] == 0
    trainer = checkpoint.load(run / "checkpoint.pt")["trainer"]
    model = load_model(run)
    for name, value in model.energy.state_dict().items():
        assert torch.equal(value, trainer["ema"][f"module.{name}"])
    assert any(
        not torch.equal(value, trainer["energy"][name])
        for name, value in model.energy.state_dict().items()
    )
    constant = dataclasses.replace(model.config, step_size=0.005, step_size_end=None)
    want = dataclasses.replace(model, config=constant).sample(5, 3, seed=1)
    assert torch.equal(model.sample(5, 3, seed=1), want)


def test_a_toml_file_says_what_flags_say(effebm, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'data = "rings"\nchains = 8\nlangevin-steps = 2\niterations = 4\nbatch_size = 4\n'
        "checkpoint_every = 2\nais-steps = 3\nerror_feedback = false\nstep_size = 0.01\nseed = 5\n"
    )
    flags = [*TINY, "--no-error-feedback", "--step-size", "0.01", "--seed", "6"]
    by_file = effebm("train", "--config", file, "--out", tmp_path / "a", "--seed", "6")
    by_flags = effebm("train", "--data", "rings", *flags, "--out", tmp_path / "b")
    assert by_file[0] == by_flags[0] == 0
    configs = [(tmp_path / name / "config.json").read_text() for name in "ab"]
    assert configs[0] == configs[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config: no such file"),
        ("chains 8", "is not a TOML file"),
        ("chain = 8\nrate = 1", "names that are no options: ['chain', 'rate']"),
        ("iteration = 50", "no options: ['iteration']: did you mean iterations?"),
        ('chains = "many"', "run.toml: chains: expected an int, got 'many'"),
        ("chains = 0", "chains: expected a finite number > 0, got 0"),
    ],
)
def test_bad_toml_files_are_refused(effebm, tmp_path, content, message):
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_text(content)
    status, _, error = effebm("train", "--config", file, "--out", tmp_path / "run")
    assert status == 2
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_takes_only_changes_from_a_file(effebm, tmp_path):
    run, file = tmp_path / "run", tmp_path / "run.toml"
    assert effebm("train", "--data", "rings", *TINY, "--out", run)[0] == 0
    file.write_text("seed = 3\nwidth = 8")
    status, _, error = effebm("train", "--config", file, "--resume", run)
    assert (status, "the run keeps its own --width; what may" in error) == (2, True)
    file.write_text("seed = 3")
    assert effebm("train", "--config", file, "--resume", run)[0] == 0
    assert json.loads((run / "config.json").read_text())["seed"] == 3


def test_a_folder_of_any_name_holds_a_run(effebm, tmp_path):
    run = tmp_path / "run\udcff"  # a byte that is no text
    flags = ["--data", "rings", "--chains", 2, "--langevin-steps", 1, "--iterations", 1]
    status, printed, error = effebm("train", *flags, "--ais-steps", 2, "--out", run)
    assert status == 0, error
    assert "run\\udcff" in printed
    assert (run / "report.html").exists()
    assert effebm("evaluate", run, "--ais-steps", 2)[0] == 0


def test_an_error_is_told_by_its_first_line_with_words(effebm, monkeypatch):
    def fails(**_):
        raise ValueError("\n\n$a{\n  ^\n")

    monkeypatch.setattr(cli.cli.commands["recipes"], "callback", fails)
    assert effebm("recipes") == (2, "", "effebm: error: $a{\n")

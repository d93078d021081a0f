"""Energies that runs describe: networks of other sizes, and classes of one's own."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from effebm_ext.networks import GaussianBase
from effebm_ext.runs import TrainConfig, load, load_model, make_trainer
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.options.energy import OwnEnergyError

COMMAND = Path(__file__).parents[3] / "effebm_command.py"  # whose folder is on the import path
TINY = ["--data", "rings", "--chains", 4, "--langevin-steps", 1, "--iterations", 4,
        "--batch-size", 4, "--checkpoint-every", 2, "--ais-steps", 2]  # fmt: skip
SOURCE = """
import math

import torch

CALLS = []

class Net(torch.nn.Module):
    def __init__(self, event_shape, **labels):
        super().__init__()
        CALLS.append((event_shape, labels))
        self.n_classes = labels.get("n_classes")
        self.linear = torch.nn.Linear(math.prod(event_shape), self.n_classes or 1)

    def forward(self, x, y=None):
        values = torch.nn.functional.softplus(self.linear(x.flatten(1)))
        if self.n_classes is None:
            return values
        return values.logsumexp(1) if y is None else values[torch.arange(len(y)), y]

class Frozen(Net):
    def __init__(self, event_shape, **labels):
        super().__init__(event_shape, **labels)
        self.linear.bias.requires_grad_(False)

class Unused(Net):
    def __init__(self, event_shape, **labels):
        super().__init__(event_shape, **labels)
        self.unused = torch.nn.Parameter(torch.zeros(3))

class Mask(Net):
    def __init__(self, event_shape, **labels):
        super().__init__(event_shape, **labels)
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))

class ExtraState(Net):
    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass

class OwnGradient(Net):
    def forward(self, x, y=None):
        values = super().forward(x, y).flatten()
        (slope,) = torch.autograd.grad(values.sum(), x, create_graph=True)
        return values + 0.1 * slope.square().sum(1)

class ByKeyword(Net):
    def forward(self, x, *, y=None):
        return super().forward(x, y)

class Empty(torch.nn.Module):
    def __init__(self, event_shape):
        super().__init__()

class NoArguments(torch.nn.Module):
    def __init__(self):
        super().__init__()

class Other(Net):
    def __new__(cls, event_shape):
        return 3

def make(event_shape):
    return Net(event_shape)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module ``own_net`` in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_net.py").write_text(SOURCE)
    yield "own_net:Net"
    sys.modules.pop("own_net", None)


def forget(tmp_path):
    (tmp_path / "own_net.py").unlink()
    del sys.modules["own_net"]


def parameters(run):
    return checkpoint.load(run / "checkpoint.pt")["trainer"]["energy"]


@pytest.mark.parametrize("kind", ["mlp", "conv", "resnet", "unet"])
def test_width_and_depth_train_and_load_again(effebm, tmp_path, kind):
    run = tmp_path / "run"
    flags = [*TINY, "--data", "digits", "--energy", kind, "--width", 3, "--depth", 2]
    status, _, error = effebm("train", *flags, "--base", "gaussian", "--out", run)
    assert status == 0, error
    model = load_model(run)
    assert (model.config.width, model.config.depth) == (3, 2)
    assert isinstance(model.energy, GaussianBase)
    first = next(m for m in model.energy.modules() if hasattr(m, "weight")).weight
    assert first.shape == {"mlp": (3, 64), "unet": (3, 1, 4, 4)}.get(kind, (3, 1, 3, 3))
    assert effebm("sample", run, "--steps", 2, "--out", tmp_path / "x.npy")[0] == 0


@pytest.mark.parametrize("flag", ["--width", "--depth"])
def test_sizes_below_one_and_of_own_classes_are_refused(effebm, tmp_path, own, flag):
    name = flag[2:]
    status, _, error = effebm("train", *TINY, flag, 0, "--out", "run")
    assert (status, f"{name}: expected a finite number > 0, got 0" in error) == (2, True)
    status, _, error = effebm("train", *TINY, "--energy", own, flag, 8, "--out", "run")
    assert status == 2
    assert f"{name}: expected none with energy own_net:Net" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "called"),
    [
        ([], ((2,), {})),
        (["--conditional", "--base", "gaussian"], ((2,), {"n_classes": 2})),
        (["--objective", "jarzynski", "--ema-decay", 0.5], ((2,), {})),
        (["--objective", "ssm"], ((2,), {})),
    ],
    ids=str,
)
def test_an_own_class_trains_resumes_and_loads(effebm, tmp_path, own, flags, called):
    flags, path = [*TINY, "--energy", own, *flags, "--out"], list(sys.path)
    status, _, error = effebm("train", *flags, "whole")
    assert status == 0, error
    assert sys.modules["own_net"].CALLS[0] == called
    assert effebm("train", *flags, "part", stop_after=3)[0] == 130
    assert effebm("train", "--resume", "part")[0] == 0
    one, other = parameters(tmp_path / "whole"), parameters(tmp_path / "part")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    label = ["--label", 1] if "--conditional" in flags else []
    sample = ["sample", "whole", "--from-noise", "--n", 3, "--steps", 2, *label]
    assert effebm(*sample, "--out", "x.npy")[0] == 0
    assert effebm("evaluate", "whole", "--ais-steps", 2)[0] == 0
    assert sys.path == path


def test_a_new_process_finds_the_class_in_its_directory(effebm, tmp_path, own):
    assert effebm("train", *TINY, "--energy", own, "--out", "run")[0] == 0
    command = [sys.executable, COMMAND, "sample", "run", "--out", "x.npy"]
    subprocess.run(command, check=True, cwd=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    command[command.index("run")] = "../run"
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert done.returncode == 2
    assert "ModuleNotFoundError: No module named 'own_net'" in done.stderr


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        ("own_net", "expected auto, mlp, conv, resnet, unet or module:Class, got 'own_net'"),
        ("own_net:", "expected auto, mlp, conv, resnet, unet or module:Class, got 'own_net:'"),
        (":Net", "expected auto, mlp, conv, resnet, unet or module:Class, got ':Net'"),
        (
            "own net:Net",
            "expected auto, mlp, conv, resnet, unet or module:Class, got 'own net:Net'",
        ),
        ("no_net:Net", "got 'no_net:Net': ModuleNotFoundError: No module named 'no_net'"),
        ("broken_net:Net", "got 'broken_net:Net': ZeroDivisionError: division by zero"),
        ("own_net:Missing", "got 'own_net:Missing': there is no Missing in "),
        ("own_net:make", "expected a subclass of torch.nn.Module, got 'own_net:make', which is"),
        ("own_net:math", "expected a subclass of torch.nn.Module, got 'own_net:math', which is"),
        ("own_net:Other", "expected 'own_net:Other' to return a torch.nn.Module, got int"),
        ("own_net:NoArguments", "expected a class that can be called as NoArguments((2,)), got"),
        ("own_net:Empty", "expected parameters to train, 'own_net:Empty' has none"),
    ],
)
def test_own_classes_that_cannot_be_used_are_named(effebm, tmp_path, own, energy, message):
    (tmp_path / "broken_net.py").write_text("1 / 0")
    status, _, error = effebm("train", *TINY, "--energy", energy, "--out", "run")
    assert (status, len(error.splitlines())) == (2, 1)
    assert error.startswith("effebm: error: energy: expected ")
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_run_says_that_it_needs_its_class_again(effebm, tmp_path, own):
    assert effebm("train", *TINY, "--energy", own, "--out", "run", stop_after=3)[0] == 130
    forget(tmp_path)
    words = "can be imported, whenever a run is trained, resumed or loaded, got 'own_net:Net'"
    with pytest.raises(OwnEnergyError, match=words):
        load_model("run")
    for command in (["train", "--resume", "run"], ["sample", "run", "--out", "x.npy"]):
        status, _, error = effebm(*command)
        assert (status, words in error) == (2, True)


def test_a_class_that_has_changed_since_is_named(effebm, tmp_path, own):
    assert effebm("train", *TINY, "--energy", own, "--out", "run")[0] == 0
    forget(tmp_path)
    (tmp_path / "own_net.py").write_text(SOURCE.replace("self.linear", "self.renamed_layer"))
    with pytest.raises(OwnEnergyError, match=r"with the parameters that were trained: .*renamed"):
        load_model("run")


def test_a_checkpoint_calls_nothing_but_modules(effebm, tmp_path, own):
    assert effebm("train", *TINY, "--energy", own, "--out", "run")[0] == 0
    content = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    content["config"]["energy"] = "subprocess:Popen"
    content["event_shape"] = ["touch", "called"]
    checkpoint.save(tmp_path / "c.pt", content)
    with pytest.raises(ValueError, match="is not of a training run"):
        load_model(tmp_path / "c.pt")
    content["event_shape"] = [2]
    checkpoint.save(tmp_path / "c.pt", content)
    with pytest.raises(OwnEnergyError, match=r"expected a subclass of torch\.nn\.Module"):
        load_model(tmp_path / "c.pt")
    assert not (tmp_path / "called").exists()


def test_an_older_run_without_sizes_still_loads(effebm, tmp_path):
    run = tmp_path / "run"
    assert effebm("train", *TINY, "--out", run, stop_after=3)[0] == 130
    path = run / "config.json"
    config = json.loads(path.read_text())
    assert (config.pop("width"), config.pop("depth")) == (None, None)
    path.write_text(json.dumps(config))
    assert effebm("train", "--resume", run)[0] == 0
    content = checkpoint.load(run / "checkpoint.pt")
    for name in ("width", "depth"):
        del content["config"][name]
    checkpoint.save(run / "checkpoint.pt", content)
    assert load_model(run).config.width is None


def test_jarzynski_still_refuses_the_quadratic_head():
    with pytest.raises(ValueError, match="energy: not resnet with objective jarzynski"):
        TrainConfig(objective="jarzynski", energy="resnet", width=4)


def test_python_makes_a_trainer_of_an_own_class(own):
    config = TrainConfig(data="rings", energy=own, chains=4, langevin_steps=1, batch_size=4)
    trainer = make_trainer(config, load("rings"))
    assert type(trainer.energy).__name__ == "Net"
    again = make_trainer(dataclasses.replace(config), load("rings"))
    assert torch.equal(trainer.energy.linear.weight, again.energy.linear.weight)
    assert "loss" in trainer.iteration()


@pytest.mark.parametrize("flags", [[], ["--conditional"]], ids=["", "classes"])
@pytest.mark.parametrize(
    "name", ["Frozen", "Unused", "Mask", "ExtraState", "OwnGradient", "ByKeyword"]
)
def test_unusual_classes_train_resume_and_load(effebm, own, name, flags):
    train = ["train", *TINY, "--energy", f"own_net:{name}", *flags, "--evaluate-every", 3]
    for command in (
        [*train, "--out", "run"],
        ["train", "--resume", "run", "--iterations", 6],
        ["sample", "run", "--steps", 2, "--out", "x.npy"],
        ["evaluate", "run", "--ais-steps", 2],
    ):
        status, _, error = effebm(*command)
        assert status == 0, (command, error)

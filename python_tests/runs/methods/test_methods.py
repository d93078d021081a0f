"""Methods of objectives: what configurations, the command line and runs take from them."""

import dataclasses
import json

import pytest
import torch

from effebm_ext.objectives import Loss
from effebm_ext.runs import TrainConfig, load_model
from effebm_ext.runs import config as configurations
from effebm_ext.runs.data.dataset import TOYS
from effebm_ext.runs.methods import METHODS, Method
from effebm_ext.runs.options.fields import option

TINY = ["--data", "rings", "--iterations", 4, "--checkpoint-every", 2]


class Constant:
    """Pulls the energy of the data to one; it has neither chains nor an energy gap."""

    chains = labels = None

    def __init__(self, energy):
        self.energy = energy

    def advance(self):
        pass

    def loss(self, data, labels):
        energy = self.energy(data, **labels)
        return Loss((energy - 1).square().mean(), {"data_energy": energy.detach().mean()})

    def parameters_moved(self):
        return {}


@pytest.fixture
def constant(monkeypatch):
    method = Method(
        "constant", lambda setting, own: Constant(setting.energy), shown={"loss": ".3f"}
    )
    monkeypatch.setitem(METHODS, "constant", method)
    return method


@pytest.mark.parametrize("conditional", [False, True])
def test_an_objective_without_chains_trains_from_the_command_line(
    effebm, constant, tmp_path, conditional
):
    run = tmp_path / "run"
    data = ["--data", "digits"] if conditional else []
    flags = [*TINY, *data, "--objective", "constant", "--evaluate-every", 2, "--ais-steps", 8]
    status, shown, error = effebm(
        "train", *flags, *(["--conditional"] if conditional else []), "--out", run
    )
    assert status == 0, error
    assert "report.html" in shown
    assert sorted(path.name for path in run.iterdir()) == [
        "best.pt", "checkpoint.pt", "config.json", "curves.png", "environment.json",
        "evaluation.json", "metrics.jsonl", "report.html",
    ]  # fmt: skip
    assert json.loads((run / "evaluation.json").read_text())["reverse_from_data"]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert "cross_entropy_forward" in metrics[1]
    assert ", loss " in error


def test_a_run_without_chains_resumes_and_samples_from_noise(effebm, constant, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    flags = [*TINY, "--objective", "constant", "--ais-steps", 0, "--out"]
    assert effebm("train", *flags, whole)[0] == 0
    assert effebm("train", *flags, part, stop_after=3)[0] != 0
    assert effebm("train", "--resume", part)[0] == 0
    one, other = load_model(whole), load_model(part)
    for a, b in zip(one.energy.parameters(), other.energy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.n_classes is None
    assert one.sample(3, 2, from_noise=True).shape == (3, 2)
    with pytest.raises(ValueError, match="chains: the run has none to start from"):
        one.sample(3, 2)
    assert effebm("evaluate", whole, "--ais-steps", 4)[0] == 0


def test_an_unknown_objective_is_refused_by_the_methods(constant):
    assert TrainConfig(objective="constant").resolved("small images").energy_l2 is None
    with pytest.raises(ValueError, match=r"objective: expected contrastive, .*, constant, got 'x'"):
        TrainConfig(objective="x")
    with pytest.raises(ValueError, match="energy_l2: expected none with objective constant"):
        TrainConfig(objective="constant", energy_l2=0.1)


def test_every_option_says_what_it_is_for(effebm):
    shown = effebm("train", "--help")[1]
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} " in shown
        words = field.metadata["help"].replace(" ", "")
        assert words.partition("[")[0] in "".join(shown.split())
    assert all(name in "".join(shown.split()) for name in (*METHODS, *TOYS))


def test_own_options_are_those_of_the_method():
    config = TrainConfig(objective="jarzynski", adjusted=True, energy_l2=0.5)
    own = config.method.own(config)
    assert dataclasses.asdict(own) == {
        "energy_l2": 0.5, "adjusted": True, "moved_chains": 0, "resampling": "systematic",
        "resample_threshold": 0.5, "following_walkers": 0,
    }  # fmt: skip


def test_two_different_options_of_one_name_are_refused(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Other:
        energy_l2: float = option(1.0, "something else")

    monkeypatch.setitem(METHODS, "other", Method("other", lambda *_: None, options=Other))

    with pytest.raises(TypeError, match="energy_l2: two methods have different options"):

        @configurations._with_own_options
        class Config(configurations.CommonOptions):
            pass


def test_the_progress_bar_shows_what_an_iteration_has():
    assert METHODS["contrastive"].progress({"energy_gap": 0.25, "loss": 1}) == "energy gap +0.250"
    assert METHODS["contrastive"].progress({"loss": 1}) == ""
    assert METHODS["ssm"].progress({"loss": -1.5}) == "loss -1.5"


def test_a_compressor_becomes_an_object_once_in_a_configuration():
    config = TrainConfig(compressor="topk:3", clip="norm:2")
    assert config.chain_compressor is config.chain_compressor
    assert config.chain_clip is config.chain_clip
    assert config.resolved("points").resolved("points") is not config
    resolved = config.resolved("points")
    assert resolved.resolved("points") is resolved

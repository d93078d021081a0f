"""The study of remedies: its targets, and its quick form."""

import json

import pytest
import torch
from click.testing import CliRunner
from helpers import normal

from experiments.remedies.__main__ import main
from experiments.remedies.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_figures_are_one_for_exact_samples(name):
    target = TARGETS[name]()
    x = target.draw(4000, torch.Generator().manual_seed(0))
    for figure, value in target.figures(x).items():
        assert abs(value - 1) < 0.06, figure


@pytest.mark.parametrize("name", TARGETS)
def test_gradients_and_samples_belong_together(name):
    """For exact samples the mean of x_i dE/dx_i is 1 in every entry."""
    target = TARGETS[name]()
    x = target.draw(20_000, torch.Generator().manual_seed(1)).double()
    virial = (x * target.gradient(x.float())).mean()
    assert abs(virial - 1) < 0.05


def test_gradients_are_those_of_one_energy():
    """Their Jacobian is symmetric."""
    for name in ("random basis", "mixture", "quartic", "funnel"):
        target = TARGETS[name]()
        x = 0.5 * normal(1, target.draw(1, torch.Generator()).shape[1])
        jacobian = torch.func.jacrev(lambda v, f=target.gradient: f(v[None])[0])(x[0])
        torch.testing.assert_close(jacobian, jacobian.T, rtol=1e-3, atol=1e-4)


def test_errors_over_seeds_need_two_of_them():
    done = CliRunner().invoke(main, ["--seeds", "1"])
    assert done.exit_code == 2
    assert "1 is not in the range x>=2" in done.output


def test_the_quick_study_looks_at_states_and_samples(tmp_path):
    arguments = ["--quick", "--target", "isotropic", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert "averaged noise" in done.output
    rows = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert {(r["compressor"], r["shown"]) for r in rows} == {
        ("none", "states"),
        *((c, s) for c in ("Top-k 10 %", "Block-Sign 64") for s in ("states", "samples")),
    }
    assert {r["kind"] for r in rows} == {"plain", "thermostat", "averaged noise"}

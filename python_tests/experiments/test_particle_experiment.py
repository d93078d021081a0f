"""The experiment in the plane: its density, its grid, and that it runs and goes on."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from effebm_ext.objectives import Contrastive, ParticleDynamics
from experiments.particle_dynamics import __main__ as experiment
from experiments.particle_dynamics import plane, report

GRID = plane.Grid(129)


def generator():
    return torch.Generator().manual_seed(0)


class Target(nn.Module):
    """The energy of the eight Gaussians, up to a constant."""

    def forward(self, x):
        return 3.0 - plane.log_density(x.double())


def test_the_grid_sums_what_is_known():
    assert GRID.fit(Target()).log_likelihood == pytest.approx(GRID.optimum(), abs=1e-6)
    assert GRID.fit(Target()).model_energy == pytest.approx(3 - GRID.optimum(), abs=1e-6)
    # without overlap: the -2.838 that the source states
    apart = -math.log(8 * 2 * math.pi * math.e * plane.WIDTH**2)
    assert apart == pytest.approx(-2.838, abs=5e-4)
    assert 0.005 < GRID.optimum() - apart < 0.007
    energy = plane.BasedEnergy(torch.zeros(2), torch.tensor([1.0, 2.0]), hidden=4)
    nn.init.zeros_(energy.net[-1].weight)
    second = plane.RADIUS**2 / 2 + plane.WIDTH**2  # of either coordinate
    want = -math.log(2 * math.pi * 2) - second / 2 - second / 8
    fit = GRID.fit(energy)
    assert fit.log_likelihood == pytest.approx(want, abs=1e-4)
    assert 0 <= fit.edge < 1e-5
    assert plane.Grid(65).optimum() == pytest.approx(GRID.optimum(), abs=1e-3)


def test_points_are_of_the_density():
    x = plane.draw(40_000, generator()).double()
    value = plane.log_density(x)
    error = float(value.std()) / 200
    assert abs(float(value.mean()) - GRID.optimum()) < 4 * error < 0.03
    assert float(x.square().mean()) == pytest.approx(plane.RADIUS**2 / 2 + plane.WIDTH**2, rel=0.01)


def test_arms_are_what_they_are_called():
    made = {
        arm: experiment.make_trainer(setting)
        for arm, setting in experiment.tasks(experiment.QUICK, 1, ())
    }
    for arm, trainer in made.items():
        objective, sampler = trainer.objective, trainer.chains.sampler
        moves = isinstance(objective, ParticleDynamics)
        assert moves == arm.startswith(("alpha", "beta"))
        assert isinstance(objective, Contrastive)
        if moves:
            assert objective.move == arm.split(",")[0]
            assert objective.corrected == ("corrected" in arm)
        assert objective.langevin_steps == (10 if moves else 20)
        assert (sampler.compressor is not None) == ("Top-1" in arm)
        assert sampler.error_feedback == ("feedback" in arm)
    replay = made["replay, annealed"].chains
    assert len(replay.buffer.x) == 10_000
    assert replay.restart.probability == 0.1
    variance = replay.sampler.step_size * replay.sampler.temperature  # of the noise of a step
    assert variance == pytest.approx(0.01)


def quick(folder, *options):
    done = CliRunner().invoke(experiment.main, ["--quick", "--out", str(folder), *options])
    assert done.exit_code == 0, done.output
    return done.output, json.loads((folder / "results.json").read_text())


def test_quick_run_leaves_everything_it_promises_and_goes_on(tmp_path, monkeypatch):
    quick(tmp_path, "--seeds", "1", "--arm", "alpha", "--arm", "PCD")
    output, found = quick(tmp_path, "--seeds", "2")
    assert [r["seed"] for r in found["runs"]] == [0] * len(experiment.ARMS) + [1] * len(
        experiment.ARMS
    )
    for row in found["runs"]:
        assert row["diverged"] is None
        assert row["log_likelihood"] < found["optimum"]
        assert row["curve"][-1] == [8, pytest.approx(row["log_likelihood"])]
        assert (row["move_rms"] is None) == (row["arm"] in ("PCD", "replay, annealed"))
        assert (row["step_correction"] is None) == (row["arm"] != "alpha, corrected")
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == len(found["runs"])
    assert 0 < (tmp_path / "particle_dynamics.png").stat().st_size < 150_000
    for text in (*experiment.ARMS, "below optimum", "±", "-2.83"):
        assert text in output
    monkeypatch.setattr(experiment, "run", lambda *_: pytest.fail("a run was repeated"))
    assert quick(tmp_path, "--seeds", "2")[1]["runs"] == found["runs"]


def test_a_run_that_diverges_says_so():
    setting = experiment.Setting(**experiment.QUICK | {"learning_rate": 1e30, "move": "alpha"})
    row = experiment.run(setting, GRID)
    assert row["diverged"].startswith("iteration 1: ")
    rows = [{"arm": "alpha", "seed": 0, **row}]
    text = report.table({"runs": rows, "optimum": GRID.optimum()})
    assert "alpha (1 of 1 diverged)" in text

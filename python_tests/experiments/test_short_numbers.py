"""The experiment with short numbers runs, and its tables say what its figures say."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.short_numbers import __main__ as short
from experiments.short_numbers import digits, gaussian


def test_a_quick_run_leaves_all_figures(tmp_path):
    done = CliRunner().invoke(short.main, ["--quick", "--seeds", "2", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["moving"].keys() == {"0.02"}
    assert found["moving"]["0.02"].keys() == gaussian.MOVING.keys()
    assert found["resting"]["10"].keys() == gaussian.RESTING.keys()
    assert found["gradients"]["0.1"].keys() == gaussian.GRADIENTS.keys()
    assert [run["diverged"] for run in found["digits"]] == [None] * 2 * len(digits.ARMS)
    for text in (
        *gaussian.MOVING,
        *gaussian.RESTING,
        *gaussian.GRADIENTS,
        *digits.ARMS,
        "interval",
        "±",
    ):
        assert text in done.output


def test_an_excess_is_paired_by_the_noise():
    scale = gaussian.Scale(chains=64, dim=64, looks=2, burn_in=2, duration=1)
    rows = short.variances(gaussian.moving, gaussian.MOVING, 0.02, scale)
    assert rows["float32"]["excess"] == rows["float32"]["excess_error"] == 0
    for arm in list(rows)[1:]:
        excess, error = rows[arm]["excess"], rows[arm]["excess_error"]
        assert 0 < error < rows[arm]["error"] / 2
        assert abs(excess) < 5 * error


def test_differences_on_digits_are_paired_by_seed():
    rows = [
        {"arm": arm, "seed": seed, "forward": 37.0 + seed + i, "reverse": 37.0, "diverged": None}
        for seed in range(2)
        for i, arm in enumerate(digits.ARMS)
    ]
    rows[-1]["diverged"] = "energies far apart"
    last = rows[-1]["arm"]
    lines = short.table_of_digits(rows).splitlines()
    by_arm = {line.split("  ")[0]: line for line in lines}
    assert "worse, +0.50 nats" in by_arm["buffer, bfloat16"]
    assert "against" not in by_arm["buffer, float32"]
    assert by_arm[last].endswith("diverged")


@pytest.mark.parametrize("arm", digits.MOVING)
def test_the_arms_that_move_in_bfloat16_do(arm):
    trainer = short.digits.trainer_of(
        arm, digits.configuration(arm, 0, quick=True), short.load("digits")
    )
    trainer.iteration()
    assert str(trainer.chains.x.dtype) == "torch.bfloat16"
    assert trainer.chains.sampler.stochastic_rounding is digits.MOVING[arm]

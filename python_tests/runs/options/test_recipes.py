"""Named settings from which a run can begin, and what the chains of published recipes need."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from effebm_ext.limits import ClipValue
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import IMAGES, KINDS, Dataset, load
from effebm_ext.runs.evaluation.evaluate import evaluate
from effebm_ext.runs.methods.starts import draw_starts, rows_of_starts
from effebm_ext.runs.model import load_model
from effebm_ext.runs.recipes import DEFAULTS, RECIPES, recipe_of
from effebm_ext.runs.trainer import make_sampler, make_trainer

TINY = ["--iterations", 1, "--ais-steps", 0, "--chains", 4, "--batch-size", 4]
FIELDS = {field.name for field in dataclasses.fields(TrainConfig)}


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_configuration(name):
    config = TrainConfig(**RECIPES[name].options)
    assert set(RECIPES[name].options) <= FIELDS
    assert recipe_of(config.resolved(IMAGES)) == f"recipe {name}"


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_recipe_of_their_kind(kind):
    config = TrainConfig(iterations=7).resolved(kind)
    assert recipe_of(config) == f"recipe {DEFAULTS[kind].name}"


@pytest.mark.parametrize("energy", ["unet", "conv"])
def test_the_learning_rate_of_images_goes_with_the_network(energy):
    named = TrainConfig(**RECIPES["images"].options, energy=energy).resolved(IMAGES)
    assert named == TrainConfig(energy=energy).resolved(IMAGES)
    assert named.learning_rate == {"unet": 2e-3, "conv": 5e-4}[energy]
    assert recipe_of(named) == "recipe images"
    other = dataclasses.replace(named, learning_rate=0.125)
    assert recipe_of(other) == "recipe images but learning_rate 0.125"


def test_a_few_changes_of_a_recipe_are_named():
    config = TrainConfig(chains=5, step_size=0.25).resolved(IMAGES)
    assert recipe_of(config) == "recipe images but chains 5, step_size 0.25"
    config = TrainConfig(chains=5, step_size=0.25, langevin_steps=1, batch_size=3).resolved(IMAGES)
    assert recipe_of(config) == "options of its own"


def test_a_file_wins_over_a_recipe_and_a_flag_over_both(effebm, tmp_path):
    (tmp_path / "a.toml").write_text("langevin_steps = 3\nnoise_std = 0.5\n")
    for order in (["--recipe", "jem", "--config", tmp_path / "a.toml"],
                  ["--config", tmp_path / "a.toml", "--recipe", "jem"]):  # fmt: skip
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        flags = ["--data", "digits", *TINY, "--buffer-size", 4, "--noise-std", 0.25]
        status, _, error = effebm("train", *order, *flags, "--out", out)
        assert status == 0, error
        got = json.loads((out / "config.json").read_text())
        assert (got["langevin_steps"], got["noise_std"], got["step_size"]) == (3, 0.25, 2.0)


def test_a_file_may_name_a_recipe_and_a_flag_another(effebm, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('recipe = "jem"\nlangevin_steps = 1\nnoise_std = 0.5\n')
    given, other = ["--config", file], ["--recipe", "igebm"]
    for order, step_size in ((given, 2.0), ([*given, *other], 20.0), ([*other, *given], 20.0)):
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        flags = ["--data", "rings", *TINY, "--buffer-size", 4]
        status, _, error = effebm("train", *order, *flags, "--out", out)
        assert status == 0, error
        got = json.loads((out / "config.json").read_text())
        assert (got["langevin_steps"], got["noise_std"], got["step_size"]) == (1, 0.5, step_size)
    printed = effebm("bias", "--config", file)[1]
    assert printed.startswith("compressor none, 64 entries, step size 2, temperature 0.125\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('recipe = "jen"', f"recipe: expected {', '.join(RECIPES)}, got 'jen': did you mean jem?"),
        ("recipe = 3", "recipe: expected a str, got 3"),
    ],
)
def test_what_is_no_recipe_in_a_file_is_refused(effebm, tmp_path, line, message):
    file = tmp_path / "a.toml"
    file.write_text(line)
    status, _, error = effebm("train", "--config", file, "--out", tmp_path / "run")
    assert (status, error) == (2, f"effebm: error: config: {file}: {message}\n")


def test_an_unknown_recipe_is_refused(effebm, tmp_path):
    status, _, error = effebm("train", "--recipe", "x", "--out", tmp_path / "run")
    names = ", ".join(RECIPES)
    assert (status, error) == (2, f"effebm: error: recipe: expected {names}, got 'x'\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--recipe", "igebm", "--objective", "jarzynski"],
         "recipe: igebm: noise_std: expected None with objective jarzynski"),
        (["--recipe", "igebm", "--objective", "dsm"],
         "recipe: igebm: energy_l2: expected none with objective dsm"),
        (["--recipe", "jem", "--temperature", 2],
         "recipe: jem: noise_std: expected none with a temperature"),
        (["--recipe", "jem", "--chains", 20000],
         "recipe: jem: buffer_size: expected 0 or at least chains, 20000, got 10000"),
        (["--recipe", "jem", "--noise-std", -1], "noise_std: expected a finite number > 0, got -1"),
    ],
    ids=str,
)  # fmt: skip
def test_a_conflict_with_a_recipe_names_it(effebm, tmp_path, flags, message):
    status, _, error = effebm("train", *flags, "--data", "digits", "--out", tmp_path / "run")
    assert status == 2
    assert error.startswith(f"effebm: error: {message}")


@pytest.mark.parametrize("swap", [False, True])
def test_a_file_is_blamed_only_for_its_own_values(effebm, tmp_path, swap):
    file = tmp_path / "a.toml"
    for content, blamed in (
        ("temperature = 2.0", "recipe: jem: noise_std: expected none with"),
        ("noise_std = -1.0", f"config: {file}: noise_std: expected a finite number > 0"),
    ):
        file.write_text(content)
        sources = [["--recipe", "jem"], ["--config", file]]
        one, other = sources[::-1] if swap else sources
        status, _, error = effebm("train", *one, *other, "--out", tmp_path / "run")
        assert status == 2
        assert error.startswith(f"effebm: error: {blamed}")


def test_the_list_of_recipes_has_commands(effebm):
    status, shown, _ = effebm("recipes")
    assert status == 0
    for name, recipe in RECIPES.items():
        assert f"{name}: {recipe.about}\n  effebm train --recipe {name} --data SOURCE" in shown
    assert "--noise-std 0.005 --clip value:0.01 --bounds -1:1 --batch-size" in " ".join(
        shown.split()
    )


def test_igebm_takes_the_steps_of_its_paper():
    config = TrainConfig(**RECIPES["igebm"].options).resolved(IMAGES)
    sampler = make_sampler(config, torch.nn.Identity())
    assert sampler.step_size / 2 == 10  # its step
    assert math.sqrt(sampler.step_size * sampler.temperature) == pytest.approx(0.005)
    assert sampler.clip == ClipValue(0.01)
    assert (sampler.bounds.lower, sampler.bounds.upper) == (-1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_std": 0.1, "temperature": 2.0}, "noise_std: expected none with a temperature"),
        ({"noise_std": 0.1, "step_size_end": 0.1}, "noise_std: expected none with a temperature"),
        ({"noise_std": 0.1, "denoising_weight": 1.0}, "denoising_weight: expected 0 with a temp"),
        ({"temperature": 0.5, "objective": "dsm"}, "temperature: expected 1.0 with objective dsm"),
        ({"bounds": "-1:1", "objective": "particle"}, "bounds: expected none with objective part"),
        ({"init": "data", "objective": "jarzynski"}, "init: expected noise with objective jarz"),
        ({"temperature": 0.5, "verbatim": True}, "temperature: expected 1.0 with verbatim"),
        ({"bounds": "1:-1"}, "bounds: expected none or LOW:HIGH, with LOW < HIGH, got '1:-1'"),
        ({"bounds": "-1"}, "bounds: expected none or LOW:HIGH"),
        ({"bounds": "0:inf"}, "bounds: expected none or LOW:HIGH"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_step_sizes_may_begin_anew_in_every_iteration():
    config = TrainConfig(
        step_size=0.4, step_size_end=0.1, step_size_schedule="iteration", langevin_steps=3
    ).resolved(IMAGES)
    schedule = config.step_sizes()
    assert [schedule(k) for k in range(6)] == pytest.approx([0.4, 0.2, 0.1] * 2)
    assert TrainConfig(verbatim=True).resolved(IMAGES).step_size_schedule == "iteration"
    assert TrainConfig().resolved(IMAGES).step_size_schedule == "run"


def test_noise_starts_have_the_moments_of_the_data():
    data = 3 + 2 * torch.randn(100, 1, 4, 4, generator=generator())
    x = draw_starts("noise", None, data, 5000, generator())
    assert x.shape == (5000, 1, 4, 4)
    assert float(x.mean()) == pytest.approx(float(data.mean()), abs=0.05)
    assert float(x.std()) == pytest.approx(float(data.std()), rel=0.02)


def test_uniform_starts_fill_the_bounds_or_the_range():
    data = torch.tensor([[-3.0, 0.0], [1.0, 5.0]])
    for bounds, (low, high) in ((None, (-3, 5)), ((-0.5, 0.25), (-0.5, 0.25))):
        x = draw_starts("uniform", bounds, data, 20_000, generator())
        assert low <= float(x.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(x.max()) <= high
        assert float(x.mean()) == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


def test_starts_may_be_data_or_rows_of_a_file(tmp_path):
    data, other = torch.arange(6.0).reshape(3, 2), -torch.arange(8.0).reshape(4, 2)
    np.save(tmp_path / "x.npy", other.numpy())
    for init, rows in (("data", data), (str(tmp_path / "x.npy"), other)):
        x = draw_starts(init, None, rows_of_starts(init, data), 200, generator())
        assert {tuple(row) for row in x.tolist()} == {tuple(row) for row in rows.tolist()}


def test_a_file_of_starts_that_does_not_fit_is_refused(tmp_path):
    data = torch.zeros(3, 2)
    with pytest.raises(FileNotFoundError, match="init: expected noise, uniform, data or"):
        rows_of_starts("nothing", data)
    for bad in (np.zeros((4, 3)), np.zeros((0, 2)), np.full((4, 2), np.nan), np.array(["a", "b"])):
        np.save(tmp_path / "x.npy", bad)
        with pytest.raises(ValueError, match="init: "):
            rows_of_starts(str(tmp_path / "x.npy"), data)


def test_chains_keep_to_their_bounds_and_start_where_asked(effebm, tmp_path):
    flags = ["--data", "digits", *TINY, "--bounds", "-0.5:0.5", "--init", "uniform"]
    assert effebm("train", *flags, "--out", tmp_path / "run")[0] == 0
    model = load_model(tmp_path / "run")
    assert float(model.state.x.abs().max()) <= 0.5
    noise = model.sample(64, 1, from_noise=True)
    assert float(noise.abs().max()) <= 0.5


def test_a_temperature_is_that_of_what_is_evaluated():
    class Quadratic(torch.nn.Module):
        def forward(self, x):
            return x.square().sum(1)  # exp(-E / 2) is a standard normal density

    config = TrainConfig(data="rings", temperature=2.0, ais_steps=20).resolved("points")
    data = Dataset("normal", torch.randn(2000, 2, generator=generator()), is_image=False)
    chains = torch.randn(128, 2, generator=torch.Generator().manual_seed(1))
    found = evaluate(config, data, Quadratic(), chains)
    assert found.temperature == 2
    assert found.cross_entropy_forward == pytest.approx(math.log(2 * math.pi) + 1, abs=0.1)
    assert found.virial == pytest.approx(1, abs=0.3)
    assert "under exp(-E / 2)" in found.summary()


def test_noise_is_taken_off_at_the_temperature_of_the_chains():
    config = TrainConfig(temperature=0.25, data_noise=0.3).resolved(IMAGES)
    assert config.removable_noise == pytest.approx(0.6)  # score = -grad E / T
    assert TrainConfig(noise_std=0.01, data_noise=0.3).resolved(IMAGES).removable_noise == 0


def test_figures_within_bounds_carry_a_caution():
    config = TrainConfig(data="rings", bounds="-3:3", ais_steps=2).resolved("points")
    trainer = make_trainer(config, load("rings"))
    found = evaluate(config, load("rings"), trainer.energy, trainer.state.x)
    assert any("kept within -3:3" in caution for caution in found.cautions())
    assert "not to be trusted" in found.verdict()

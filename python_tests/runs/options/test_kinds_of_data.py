"""A run chooses its options by the kind of its data."""

import pytest
import torch

from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import IMAGES, KINDS, POINTS, SMALL_IMAGES, Dataset


@pytest.mark.parametrize(
    ("event", "is_image", "kind"),
    [
        ((2,), False, POINTS),
        ((784,), False, POINTS),
        ((32, 32, 4), False, POINTS),
        ((1, 8, 8), True, SMALL_IMAGES),
        ((3, 15, 64), True, SMALL_IMAGES),
        ((1, 16, 16), True, IMAGES),
        ((3, 32, 32), True, IMAGES),
    ],
)
def test_the_kind_follows_from_the_shape(event, is_image, kind):
    assert Dataset("x", torch.zeros(2, *event), is_image).kind == kind


NAMES = ("energy", "base", "step_size", "data_noise", "langevin_steps", "learning_rate",
         "energy_l2", "denoising_weight", "warm_up", "iterations", "batch_size")  # fmt: skip
CHOSEN = {
    POINTS: ("auto", "none", 0.005, 0.0, 20, 1e-3, 0.001, 0.0, 0, 3000, 128),
    SMALL_IMAGES: ("auto", "none", 0.02, 0.3, 20, 1e-3, 0.001, 0.0, 0, 3000, 128),
    IMAGES: ("unet", "gaussian", 0.01, 0.3, 10, 2e-3, 0.0, 10.0, 500, 1000, 64),
}


# Other networks take more iterations.
CONV = {"learning_rate": 5e-4, "iterations": 2000, "warm_up": 500}
# A U-Net learns by the denoising loss.
PLAIN = {**CONV, "energy": "auto", "denoising_weight": 0.0, "warm_up": 0}
# Neither a Gaussian base nor a denoising loss goes with another temperature.
UNTEMPERED = {"energy": "auto", "base": "none", "learning_rate": 1e-3, "energy_l2": 0.001,
              "denoising_weight": 0.0, "warm_up": 0, "iterations": 3000,
              "batch_size": 128}  # fmt: skip


def chosen(kind, **options):
    config = TrainConfig(**options).resolved(kind)
    return {name: getattr(config, name) for name in NAMES}


@pytest.mark.parametrize("kind", KINDS)
def test_contrastive_training_chooses_by_kind(kind):
    assert chosen(kind) == dict(zip(NAMES, CHOSEN[kind], strict=True))


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({"denoising_weight": 0.0}, PLAIN),
        ({"denoising_weight": 2.0}, {"warm_up": 500}),
        ({"data_noise": 0.0}, PLAIN),
        ({"data_noise": 0.0, "denoising_weight": 0.0, "energy": "unet"}, {"warm_up": 0}),
        ({"base": "none"}, {"energy_l2": 0.001}),
        ({"iterations": 100}, {"warm_up": 50}),
        ({"energy": "conv"}, CONV),
        ({"energy": "auto"}, CONV),
        ({"energy": "conv", "iterations": 100}, {**CONV, "warm_up": 25}),
        ({"temperature": 0.5}, {**UNTEMPERED, "langevin_steps": 20}),
        ({"noise_std": 0.01}, {**UNTEMPERED, "langevin_steps": 20}),
        ({"step_size": 0.5, "langevin_steps": 3, "learning_rate": 0.1}, {}),
    ],
)
def test_options_that_are_given_stay_and_others_follow(options, others):
    want = {**dict(zip(NAMES, CHOSEN[IMAGES], strict=True)), **others, **options}
    assert chosen(IMAGES, **options) == {name: want[name] for name in NAMES}


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_algorithm_is_the_same_for_all(kind):
    found = chosen(kind, verbatim=True)
    assert (found["base"], found["denoising_weight"], found["warm_up"]) == ("none", 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_other_objectives_have_no_denoising_loss(kind):
    found = chosen(kind, objective="jarzynski")
    assert (found["base"], found["denoising_weight"]) == ("gaussian", None)
    assert chosen(kind, objective="particle")["base"] == "none"


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind: expected points, small images, images, got 'x'"):
        TrainConfig().resolved("x")

"""The options that every training run has, whatever its objective."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from effebm_ext.networks import ENERGIES
from effebm_ext.runs.data.dataset import TOYS
from effebm_ext.runs.data.image_folder import BACKGROUNDS
from effebm_ext.runs.data.resizing import parse_size
from effebm_ext.runs.options.chain_options import ChainOptions
from effebm_ext.runs.options.energy import OWN_FORM, check_energy
from effebm_ext.runs.options.fields import option

# Each schedule gives the remaining share of the learning rate when a share `done` of all iterations
# is done.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@dataclasses.dataclass(frozen=True)
class CommonOptions(ChainOptions):
    """The options of a run, without the options that only its objective has.

    A run chooses values for options that are None
    (:meth:`effebm_ext.runs.config.TrainConfig.resolved`).

    Raises:
        TypeError: a value is of another type than its field; an int passes for a float, NumPy
            numbers and tensors without axes for Python's numbers.
        ValueError: a value is out of range or cannot be parsed.
    """

    data: str = option(
        "digits",
        f"Learn digits, {', '.join(TOYS)}, a .npy or .npz file of an array (n, *event) of pixels "
        "as uint8 or of numbers with a standard deviation of about one, or mnist:FOLDER, "
        "fashion-mnist:FOLDER, cifar10:FOLDER or images:FOLDER.",
        group="Data",
        metavar="SOURCE",
    )
    resize: str | None = option(
        None,
        "Cut the images of images:FOLDER to their middle and resize them to this height and width. "
        "[default: they must have one size]",
        group="Data",
        metavar="[H|HxW]",
    )
    background: str = option(
        "white",
        "Let transparent pixels of images:FOLDER show this colour.",
        group="Data",
        names=BACKGROUNDS,
    )
    holdout: float = option(
        0.1, "Keep this share of the data from training, to evaluate on.", group="Data",
        at_least=0, below=1,
    )  # fmt: skip
    data_seed: int = option(
        None,
        "Choose the held-out rows, and draw the toys, from this seed. [default: the seed of the "
        "run]",
        group="Data",
    )
    data_noise: float = option(
        None,
        "Add Gaussian noise of this standard deviation to the data. [default: 0.3 for images, "
        "0.1 for other data with dsm and fd-dsm, else and with --verbatim 0]",
        group="Data",
        at_least=0,
    )
    objective: str = option("contrastive", "Train by this method.", group="Objective")
    verbatim: bool = option(
        False,
        "Run the published algorithm (EFF-EBM, Algorithm 1) and nothing else: plain compression, "
        "gradient ascent, no noise on the data, no regulariser, no bound on the gradient.",
        group="Objective",
    )
    energy: str = option(
        None,
        "Train this network; auto is conv for images of at least 8 x 8 pixels and else mlp, and "
        "module:Class is a torch.nn.Module of your own. [default: auto; unet with a denoising loss "
        "on images of at least 16 x 16 pixels]",
        group="Model",
        metavar=f"[{'|'.join((*ENERGIES, OWN_FORM))}]",
    )
    width: int | None = option(
        None,
        "Give every layer of mlp this many units, the first layer of conv or unet or every layer "
        "of resnet this many channels. [default: 256 for mlp, 16 for conv, 64 for resnet, 32 for "
        "unet]",
        group="Model",
        above=0,
    )
    depth: int | None = option(
        None,
        "Give mlp this many hidden layers, conv at most this many layers that halve the image, or "
        "resnet and unet this many blocks per size of the image. [default: 3 for mlp, 4 for conv, "
        "1 for resnet and unet]",
        group="Model",
        above=0,
    )
    base: str = option(
        None,
        "Add to the network the energy of a Gaussian, of the mean and the standard deviation of "
        "the noisy data, so that chains cannot leave the data. [default: none; gaussian for "
        "jarzynski, and for contrastive training on images of at least 16 x 16 pixels]",
        group="Model",
        names=("gaussian", "none"),
    )
    conditional: bool = option(
        False, "Learn an energy of data and labels, to sample by class.", group="Model"
    )
    optimizer: str = option(
        None,
        "Update the parameters by this method. [default: adam, with --verbatim sgd]",
        group="Optimiser",
        names=("adam", "sgd"),
    )
    iterations: int = option(
        None,
        "Update the parameters this many times. [default: 3000, for contrastive training on images "
        "of at least 16 x 16 pixels 1000 with unet and else 2000]",
        group="Optimiser",
        above=0,
    )
    batch_size: int = option(
        None,
        "Draw this many data for every iteration. [default: 128, for contrastive training on "
        "images of at least 16 x 16 pixels 64]",
        group="Optimiser",
        above=0,
    )
    learning_rate: float = option(
        None,
        "Begin with this learning rate of the parameters. [default: 0.001, for contrastive "
        "training on images of at least 16 x 16 pixels 0.002 with unet and else 0.0005]",
        group="Optimiser",
        above=0,
    )
    learning_rate_schedule: str = option(
        None,
        "Let the learning rate fall to zero by a cosine or a line, or keep it constant. [default: "
        "cosine, with --verbatim constant]",
        group="Optimiser",
        names=tuple(_SCHEDULES),
    )
    max_grad_norm: float = option(
        None,
        "Scale larger gradients of the parameters down to this norm; 0 means never. [default: 1, "
        "with --verbatim 0]",
        group="Optimiser",
        at_least=0,
    )
    ema_decay: float = option(
        0.0,
        "Keep a moving average of the parameters with this decay, from which to sample later; 0 "
        "means that there is none.",
        group="Optimiser",
        at_least=0,
        below=1,
    )
    ais_steps: int = option(
        1000,
        "Evaluate the energy at the end over this many temperatures, of which fewer take less "
        "time and say less; 0 means not at all.",
        group="Evaluation",
        at_least=0,
    )
    evaluate_every: int = option(
        0,
        "Add a shorter evaluation to the metrics once in this many iterations; 0 means never.",
        group="Evaluation",
        at_least=0,
    )
    device: str = option(
        "cpu", "Keep the chains and the energy on this device.", group="Run", metavar="DEVICE"
    )
    seed: int = option(0, "Draw everything else that is random from this seed.", group="Run")
    checkpoint_every: int = option(
        100, "Write a checkpoint once in this many iterations.", group="Run", above=0
    )
    keep_checkpoints: int = option(
        1,
        "Keep this many of the last checkpoints: the earlier ones lie in RUN/checkpoints.",
        group="Run",
        above=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resize is not None:
            parse_size(self.resize)
        if self.energy is not None:
            check_energy(self.energy, self.width, self.depth)
        if self.evaluate_every and not self.ais_steps:
            raise ValueError(
                f"ais_steps: expected > 0 to evaluate every {self.evaluate_every} iterations, got 0"
            )
        for name in ("seed", "data_seed"):
            seed = getattr(self, name)
            if seed is not None and not -(2**63) <= seed < 2**64:
                raise ValueError(f"{name}: expected a 64-bit integer, got {seed}")

    @property
    def seed_of_data(self) -> int:
        """The option ``data_seed``, or the seed of the run if it is not given."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def removable_noise(self) -> float:
        """The standard deviation of the noise that :func:`effebm_ext.energies.denoise` takes off
        samples of ``exp(-E / temperature)``. It is 0 with ``noise_std``, where the chains are
        samples of no density of noisy data."""
        if self.noise_std is not None:
            return 0.0
        return self.data_noise / math.sqrt(self.temperature)

    def learning_rate_share(self, iteration: int) -> float:
        """Returns the remaining share of the learning rate after ``iteration`` iterations."""
        return _SCHEDULES[self.learning_rate_schedule](iteration / self.iterations)

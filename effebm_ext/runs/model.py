"""A trained model, read from a run folder or a checkpoint."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from effebm_ext.energies import denoise
from effebm_ext.rng import Key
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.copies import warn_of_copies, warn_of_repeats
from effebm_ext.runs.folder import checkpoint
from effebm_ext.runs.folder.changes import in_force
from effebm_ext.runs.folder.checkpoint import CHECKPOINT
from effebm_ext.runs.folder.restoring import configuration
from effebm_ext.runs.folder.run_files import CONFIG, read_config, written
from effebm_ext.runs.methods.starts import NOISE, UNIFORM, draw_starts
from effebm_ext.runs.options.energy import OwnEnergyError, energy_of, load_parameters
from effebm_ext.runs.trainer import make_sampler
from effebm_ext.samplers import LangevinState

_WATCHED = 60  # times


@dataclasses.dataclass
class TrainedModel:
    """A trained energy with its chains, as a checkpoint holds them. If the run kept an average of
    the parameters, the energy has the averaged parameters. The energy of a conditional run takes
    labels, ``energy(x, y)``, or returns a marginal, ``energy(x)``, in which constants that training
    leaves free weigh the classes (:func:`effebm_ext.energies.class_energy`).

    ``data`` are some of the data ``(m, *event)``, for the scale of pictures. ``digest`` is the
    digest of all data, see :meth:`effebm_ext.runs.data.dataset.Dataset.digest`. ``class_names``
    are the names of the classes in the order of their labels, if they have any. ``iterations`` is
    the number of iterations that were made; None: all of the configuration.
    """

    config: TrainConfig
    energy: torch.nn.Module
    state: LangevinState
    data: Tensor
    is_image: bool
    digest: str
    n_classes: int | None = None
    class_names: tuple[str, ...] = ()
    iterations: int | None = None

    @property
    def is_before_the_first_move(self) -> bool:
        """Whether the run stopped before its chains moved, in a warm-up or because chains of its
        objective move at checkpoints only, so that they are still where they started."""
        return len(self.state.x) > 0 and self.state.step == 0

    @property
    def samples(self) -> Tensor:
        """The chains of the run as samples of the model, ``(n_chains, *event)``."""
        return make_sampler(self._as_reached(last=True), self.energy).samples(self.state)

    def sample(
        self,
        n: int,
        n_steps: int,
        *,
        seed: int | None = None,
        from_noise: bool = False,
        clean: bool = False,
        label: int | None = None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Draws ``n`` samples ``(n, *event)``: chains of the run, or noise, moved by ``n_steps``
        steps; ``clean`` takes the data noise off them. In a conditional run they have the class
        ``label``, or without a label the classes of the chains.

        No two samples are the same, except that weighted walkers that were resampled may be at 0
        steps, which gives a warning. More samples than :meth:`n_chains` begin as copies of chains.
        Their steps, each with noise of its own, move the copies apart; a warning says how many
        independent samples they are worth if this is less than half of them.

        Args:
            n: the number of samples, at least 1.
            n_steps: at least 1 from noise, or for more samples than chains; 0: the first n chains
                as they are.
            seed: the seed of the noise, a 64-bit integer; None: 0, if noise is added.
            from_noise: start from noise, uniform if the chains of the run did.
            clean: take the noise that was added to the data off the samples. Those of a run with
                ``noise_std``, or without noise on its data, stay as they are, which gives a
                warning.
            label: the class of the samples.
            watch: called with the samples as they are at the start, up to 59 times on the way, and
                at the end.

        Raises:
            ValueError: n, n_steps or seed is out of its range; a seed is given for chains that do
                not move; the run is not conditional, has no such class, or no chain of this class
                to start from.
        """
        if n < 1 or n_steps < 0:
            raise ValueError(f"n, steps: expected n >= 1 and steps >= 0, got {n} and {n_steps}")
        if n_steps == 0:
            self._check_at_rest(n, seed, from_noise, label)
        key = Key(seed or 0)  # before a generator, which does not say what seeds it takes
        labels = self.labels(n, label)
        if from_noise:
            start, init = self.state.take(torch.arange(0)), self.config.init
            init = init if init == UNIFORM else NOISE
            bounds, generator = self.config.chain_bounds, _generator(key.seed)
            start.x = draw_starts(init, bounds, self.data, n, generator)
            start.residual = None
        else:
            start = self.state.take(self._rows(n, label))
        if labels is not None:
            start.energy_kwargs["y"] = labels
        sampler = make_sampler(self._as_reached(last=n_steps == 0), self.energy)
        state = sampler.init(start.x, rng=key.at(start.step), energy_kwargs=start.energy_kwargs)
        if start.residual is not None:
            state.residual = start.residual
        noise = self.config.removable_noise if clean else 0.0
        if clean and noise == 0:
            self._warn_of_noise_that_stays()
        for k in _parts(n_steps, 1 if watch is None else _WATCHED):
            if watch is not None:
                watch(denoise(self.energy, sampler.samples(state), noise, state.energy_kwargs))
            sampler.advance_(state, k)
        if n_steps == 0:
            warn_of_repeats(state.x)
        elif not from_noise:
            warn_of_copies(state.x, labels, self.n_chains(label), self.state.x.mean(0), n_steps)
        x = denoise(self.energy, sampler.samples(state), noise, state.energy_kwargs)
        if watch is not None:
            watch(x)
        return x

    def _warn_of_noise_that_stays(self) -> None:
        why = "the run added none to its data"
        if self.config.noise_std is not None:
            why = (
                f"the steps of its chains have a noise_std, {self.config.noise_std:g}, and chains "
                "that move by it are samples of no density of noisy data"
            )
        warnings.warn(f"denoise: no noise is taken off the samples, as {why}", stacklevel=3)

    def labels(self, n: int, label: int | None = None) -> Tensor | None:
        """Returns the labels of the samples of :meth:`sample`, int64 ``(n,)``; None if the run is
        not conditional."""
        if label is None and self.n_classes is None:
            return None
        if label is None:
            rows = self._rows(n)
            return self.state.energy_kwargs["y"][rows]
        self._check_label(label)
        return torch.full((n,), label)

    def n_chains(self, label: int | None = None) -> int:
        """Returns how many chains of the run there are to start from, of a class if asked."""
        return len(self._chains(label))

    def _chains(self, label: int | None) -> Tensor:
        """Returns the rows of the chains, of a class if asked."""
        rows = torch.arange(len(self.state.x))
        if len(rows) == 0:
            raise ValueError(
                "chains: the run has none to start from or to take classes from: pass from_noise, "
                "and label if the run is conditional"
            )
        if label is None:
            return rows
        self._check_label(label)
        rows = rows[self.state.energy_kwargs["y"] == label]
        if len(rows) == 0:
            raise ValueError(f"label: no chain is of class {label}: start from noise")
        return rows

    def _rows(self, n: int, label: int | None = None) -> Tensor:
        """Returns ``n`` rows of the chains, over and over again; only of a class if asked."""
        rows = self._chains(label)
        return rows[torch.arange(n) % len(rows)]

    def _check_label(self, label: int) -> None:
        if self.n_classes is None:
            raise ValueError(f"label: expected none, the run is not conditional, got {label}")
        if not 0 <= label < self.n_classes:
            raise ValueError(f"label: expected 0 to {self.n_classes - 1}, got {label}")

    def _check_at_rest(self, n: int, seed: int | None, from_noise: bool, label: int | None) -> None:
        """Refuses arguments that make no sense at 0 steps, where each chain is one sample."""
        if from_noise:
            raise ValueError("steps: expected at least 1 from noise, which 0 steps do not change")
        n_chains = self.n_chains(label)
        if n > n_chains:
            raise ValueError(
                f"n: expected at most {n_chains} at 0 steps, the run has no more chains"
                f"{'' if label is None else f' of class {label}'}, got {n}: take steps, which "
                "move copies of the chains apart"
            )
        if seed is not None:
            raise ValueError(f"seed: expected none at 0 steps, where no noise is added, got {seed}")

    def _as_reached(self, *, last: bool) -> TrainConfig:
        """Returns the configuration with the step size that training has reached: that of the last
        step, by which training corrects its samples, or of the next."""
        made = self.config.iterations if self.iterations is None else self.iterations
        reached = self.config.step_size_after(made, back=int(last))
        return dataclasses.replace(self.config, step_size=reached, step_size_end=None)


def load_model(path: Path | str) -> TrainedModel:
    """Loads the model of a run folder or of a checkpoint file. The model of a folder has the
    changes that were made in its config.json since the last checkpoint.

    Raises:
        FileNotFoundError: there is no such run, or it has no checkpoint yet.
        effebm_ext.runs.folder.checkpoint.CheckpointError: as checkpoint.load and
            checkpoint.check_finite.
        ValueError: config.json is not a configuration, or changes what a run must keep.
        effebm_ext.runs.options.energy.OwnEnergyError: the run trained a class of one's own, which
            cannot be imported or used here. No other run imports anything.
    """
    path, folder = Path(path), None
    if not path.exists() or (path.is_dir() and not written(path)):
        raise FileNotFoundError(f"run: {path} holds no run")
    if path.is_dir():
        path, folder = path / CHECKPOINT, path
        if not path.exists():
            raise FileNotFoundError(f"run: {folder} has no checkpoint yet{_first_of(folder)}")
    content: dict[str, Any] = checkpoint.load(path)
    config, kind = configuration(content, path)
    model = _model(config, content, path)
    if folder is not None:
        model.config = in_force(config, kind, folder)
    return model


def _first_of(folder: Path) -> str:
    """Says when the first checkpoint of a run comes, if its configuration can be read."""
    try:
        config = read_config(folder / CONFIG)
    except (FileNotFoundError, ValueError):
        return ""
    return f"; the first one comes at iteration {config.checkpoint_every}"


def _model(config: TrainConfig, content: dict[str, Any], path: Path) -> TrainedModel:
    try:
        base = (0.0, 1.0) if config.base == "gaussian" else None  # the checkpoint replaces it
        energy = energy_of(config, content["event_shape"], content["n_classes"], base)
        load_parameters(energy, content["trainer"]["energy"], config)
        if content["trainer"]["ema"] is not None:
            average = AveragedModel(energy)
            average.load_state_dict(content["trainer"]["ema"])
            energy = average.module
        checkpoint.check_finite(path, energy)
        return TrainedModel(
            config,
            energy,
            _state(content["trainer"]["chains"], content["data"], content["n_classes"]),
            content["data"],
            content["is_image"],
            content["digest"],
            content["n_classes"],
            tuple(content.get("class_names", ())),  # earlier checkpoints have none
            content["trainer"]["iterations"],
        )
    except (checkpoint.CheckpointError, OwnEnergyError):
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"checkpoint: {path} is not of a training run") from error


def _state(chains: dict[str, Any] | None, data: Tensor, n_classes: int | None) -> LangevinState:
    """Returns the state of a checkpoint's chains, or a state without chains if the run had none."""
    if chains is None:
        return LangevinState.without_chains(data, labelled=n_classes is not None)
    return LangevinState(
        chains["x"],
        chains["residual"],
        Key(**chains["key"]),
        chains["step"],
        chains["energy_kwargs"],
    )


def _parts(n_steps: int, n_parts: int) -> list[int]:
    """Shares steps out to at most so many parts; one part if there are no steps."""
    ends = [n_steps * (k + 1) // n_parts for k in range(n_parts)]
    parts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return [k for k in parts if k] or [0]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

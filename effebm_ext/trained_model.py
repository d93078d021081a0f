"""A trained model, read from a run folder or a checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from effebm_ext import checkpoint
from effebm_ext.config import TrainConfig
from effebm_ext.energies import denoise
from effebm_ext.networks import make_energy
from effebm_ext.objectives.make import make_sampler
from effebm_ext.rng import Key
from effebm_ext.run_folder import CHECKPOINT
from effebm_ext.samplers import LangevinState


@dataclasses.dataclass
class TrainedModel:
    """A trained energy with its chains, as a checkpoint holds them; where the run kept an average
    of the parameters, the energy has those. That of a conditional run takes labels, ``energy(x,
    y)``, or gives the marginal, ``energy(x)``.

    ``data``: some of the data ``(m, *event)``, for the scale of pictures. ``digest``: of all
    of them, see :meth:`effebm_ext.data.Dataset.digest`.
    """

    config: TrainConfig
    energy: torch.nn.Module
    state: LangevinState
    data: Tensor
    is_image: bool
    digest: str
    n_classes: int | None = None

    def sample(
        self,
        n: int,
        n_steps: int,
        *,
        seed: int,
        from_noise: bool = False,
        clean: bool = False,
        label: int | None = None,
    ) -> Tensor:
        """``n`` samples ``(n, *event)``: chains of the run (repeated if there are fewer), or noise,
        moved by ``n_steps`` steps; ``clean`` takes the data noise off them. In a conditional run
        they are of the class ``label``, or without one of the classes of the chains.

        Raises:
            ValueError: the run is not conditional, has no such class, or no chain of that class to
                start from.
        """
        labels = self.labels(n, label)
        start = self.state.take(self._rows(n, None if from_noise else label))
        if labels is not None:
            start.energy_kwargs["y"] = labels
        if from_noise:
            noise = torch.randn((n, *self.data.shape[1:]), generator=_generator(seed))
            start.x = self.data.mean() + self.data.std(correction=0) * noise
            start.residual = None
        sampler = make_sampler(self._at_the_end(), self.energy)
        state = sampler.init(
            start.x, rng=Key(seed).at(start.step), energy_kwargs=start.energy_kwargs
        )
        if start.residual is not None:
            state.residual = start.residual
        sampler.advance_(state, n_steps)
        if not clean:
            return state.x
        assert self.config.data_noise is not None  # a run is saved with its defaults resolved
        return denoise(self.energy, state.x, self.config.data_noise, state.energy_kwargs)

    def labels(self, n: int, label: int | None = None) -> Tensor | None:
        """Of what :meth:`sample` returns, int64 ``(n,)``; None if the run is not conditional."""
        if label is None:
            return self.state.take(self._rows(n)).energy_kwargs.get("y")
        if self.n_classes is None:
            raise ValueError(f"label: expected none, the run is not conditional, got {label}")
        if not 0 <= label < self.n_classes:
            raise ValueError(f"label: expected 0 to {self.n_classes - 1}, got {label}")
        return torch.full((n,), label)

    def _rows(self, n: int, label: int | None = None) -> Tensor:
        """Of the chains, over and over again; only those of a class if asked."""
        rows = torch.arange(len(self.state.x))
        if label is not None:
            rows = rows[self.state.energy_kwargs["y"] == label]
            if len(rows) == 0:
                raise ValueError(f"label: no chain is of class {label}: start from noise")
        return rows[torch.arange(n) % len(rows)]

    def _at_the_end(self) -> TrainConfig:
        """With the step size at which training ended."""
        end = self.config.step_size_end or self.config.step_size
        return dataclasses.replace(self.config, step_size=end, step_size_end=None)


def load_model(path: Path | str) -> TrainedModel:
    """The model of a run folder or of a checkpoint file.

    Raises:
        FileNotFoundError, effebm_ext.checkpoint.CheckpointError: as checkpoint.load and
            checkpoint.check_finite.
    """
    path = Path(path)
    path = path / CHECKPOINT if path.is_dir() else path
    content: dict[str, Any] = checkpoint.load(path)
    try:
        config = TrainConfig(**content["config"]).resolved(is_image=content["is_image"])
        base = (0.0, 1.0) if config.gaussian_base else None  # in the checkpoint are the true ones
        energy = make_energy(config.energy, content["event_shape"], content["n_classes"], base)
        energy.load_state_dict(content["trainer"]["energy"])
        if content["trainer"]["ema"] is not None:
            average = AveragedModel(energy)
            average.load_state_dict(content["trainer"]["ema"])
            energy = average.module
        checkpoint.check_finite(path, energy)
        chains = content["trainer"]["chains"]
        state = LangevinState(
            chains["x"],
            chains["residual"],
            Key(**chains["key"]),
            chains["step"],
            chains["energy_kwargs"],
        )
        return TrainedModel(
            config,
            energy,
            state,
            content["data"],
            content["is_image"],
            content["digest"],
            content["n_classes"],
        )
    except checkpoint.CheckpointError:
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"checkpoint: {path} is not of a training run") from error


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

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
from effebm_ext.energies import denoise, make_energy
from effebm_ext.rng import Key
from effebm_ext.run_folder import CHECKPOINT
from effebm_ext.samplers import LangevinState
from effebm_ext.training import make_sampler


@dataclasses.dataclass
class TrainedModel:
    """A trained energy with its chains, as a checkpoint holds them; where the run kept an average
    of the parameters, the energy has those.

    ``data``: some of the data ``(m, *event)``, for the scale of pictures. ``digest``: of all
    of them, see :meth:`effebm_ext.data.Dataset.digest`.
    """

    config: TrainConfig
    energy: torch.nn.Module
    state: LangevinState
    data: Tensor
    is_image: bool
    digest: str

    def sample(
        self, n: int, n_steps: int, *, seed: int, from_noise: bool = False, clean: bool = False
    ) -> Tensor:
        """``n`` samples ``(n, *event)``: chains of the run (repeated if there are fewer), or noise,
        moved by ``n_steps`` steps; ``clean`` takes the data noise off them."""
        if from_noise:
            noise = torch.randn((n, *self.data.shape[1:]), generator=_generator(seed))
            x0 = self.data.mean() + self.data.std(correction=0) * noise
        else:
            rows = torch.arange(n) % len(self.state.x)
            x0 = self.state.x[rows]
        sampler = make_sampler(self._at_the_end(), self.energy)
        state = sampler.init(x0, rng=Key(seed).at(self.state.step))
        if not from_noise and self.state.residual is not None:
            state.residual = self.state.residual[rows].clone()
        sampler.advance_(state, n_steps)
        if not clean:
            return state.x
        assert self.config.data_noise is not None  # a run is saved with its defaults resolved
        return denoise(self.energy, state.x, self.config.data_noise)

    def _at_the_end(self) -> TrainConfig:
        """With the step size at which training ended."""
        end = self.config.step_size_end or self.config.step_size
        return dataclasses.replace(self.config, step_size=end, step_size_end=None)


def load_model(path: Path | str) -> TrainedModel:
    """The model of a run folder or of a checkpoint file.

    Raises:
        FileNotFoundError, effebm_ext.checkpoint.CheckpointError: as checkpoint.load.
    """
    path = Path(path)
    content: dict[str, Any] = checkpoint.load(path / CHECKPOINT if path.is_dir() else path)
    try:
        config = TrainConfig(**content["config"])
        energy = make_energy(config.energy, content["event_shape"])
        energy.load_state_dict(content["trainer"]["energy"])
        if content["trainer"]["ema"] is not None:
            average = AveragedModel(energy)
            average.load_state_dict(content["trainer"]["ema"])
            energy = average.module
        chains = content["trainer"]["chains"]
        state = LangevinState(chains["x"], chains["residual"], Key(**chains["key"]), chains["step"])
        return TrainedModel(
            config, energy, state, content["data"], content["is_image"], content["digest"]
        )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"checkpoint: {path} is not of a training run") from error


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

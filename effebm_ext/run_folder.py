"""The folder of a training run: its configuration, metrics, checkpoint and pictures."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effebm_ext import checkpoint, plotting
from effebm_ext.data import Dataset
from effebm_ext.energies import denoise, make_energy
from effebm_ext.rng import Key
from effebm_ext.samplers import LangevinState
from effebm_ext.training import (
    NonFiniteError,
    TrainConfig,
    Trainer,
    make_sampler,
)

CHECKPOINT = "checkpoint.pt"
_FILES = ("config.json", "metrics.jsonl", CHECKPOINT, "samples.png", "curves.png")
_SHOWN_DATA = 1000


class RunFolder:
    """A run's folder.

    Args:
        path: created if need be.
        overwrite: replace the run that is already there.

    Raises:
        FileExistsError: path holds a run and overwrite is false, or path is a file.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"out: expected a folder, {path} is a file")
        if not overwrite and any((path / name).exists() for name in _FILES):
            raise FileExistsError(
                f"out: {path} already holds a run; choose another, or --overwrite"
            )
        path.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (path / name).unlink(missing_ok=True)
        self.path = path

    def train(
        self,
        config: TrainConfig,
        dataset: Dataset,
        trainer: Trainer,
        *,
        progress: Callable[[dict[str, float]], None] = lambda metrics: None,
    ) -> list[dict[str, float]]:
        """Runs all iterations; ``progress`` is called with the metrics of each.

        Raises:
            NonFiniteError: names the iteration and the last good checkpoint.
        """
        text = json.dumps(dataclasses.asdict(config), indent=2)
        (self.path / "config.json").write_text(text + "\n")
        history: list[dict[str, float]] = []
        start = time.monotonic()
        with open(self.path / "metrics.jsonl", "w") as log:
            for _ in range(config.iterations):
                try:
                    seen = trainer.iteration()
                except NonFiniteError as error:
                    raise NonFiniteError(f"{error}; {self._last_good()}") from error
                seconds = time.monotonic() - start
                metrics = {"iteration": trainer.iterations, "seconds": round(seconds, 3), **seen}
                history.append(metrics)
                log.write(json.dumps(metrics) + "\n")
                progress(metrics)
                if trainer.iterations % config.checkpoint_every == 0:
                    log.flush()
                    self._save(config, dataset, trainer)
        self._save(config, dataset, trainer)
        shown = denoise(trainer.energy, trainer.chains.x, trainer.data_noise).cpu()
        plotting.save_samples(
            self.path / "samples.png", shown, dataset.x, is_image=dataset.is_image
        )
        plotting.save_curves(self.path / "curves.png", history)
        return history

    def _save(self, config: TrainConfig, dataset: Dataset, trainer: Trainer) -> None:
        content = {
            "config": dataclasses.asdict(config),
            "event_shape": list(dataset.event_shape),
            "is_image": dataset.is_image,
            "data": dataset.x[:_SHOWN_DATA].clone(),
            "trainer": trainer.state_dict(),
        }
        checkpoint.save(self.path / CHECKPOINT, content)

    def _last_good(self) -> str:
        path = self.path / CHECKPOINT
        if not path.exists():
            return "there is no checkpoint yet"
        iterations = checkpoint.load(path)["trainer"]["iterations"]
        return f"the last good checkpoint is {path} of iteration {iterations}"


@dataclasses.dataclass
class TrainedModel:
    """A trained energy with its chains, as a checkpoint holds them.

    ``data``: some of the training data ``(m, *event)``, for the scale of pictures.
    """

    config: TrainConfig
    energy: torch.nn.Module
    state: LangevinState
    data: Tensor
    is_image: bool

    def sample(
        self, n: int, n_steps: int, *, seed: int, from_noise: bool = False, clean: bool = False
    ) -> Tensor:
        """``n`` samples ``(n, *event)``: chains of the run (repeated if there are fewer), or noise,
        moved by ``n_steps`` steps; ``clean`` takes the data noise off them."""
        if from_noise:
            noise = torch.randn((n, *self.data.shape[1:]), generator=_generator(seed))
            x0 = self.data.mean() + self.data.std(correction=0) * noise
        else:
            x0 = self.state.x[torch.arange(n) % len(self.state.x)]
        sampler = make_sampler(self.config, self.energy)
        state = sampler.init(x0, rng=Key(seed).at(self.state.step))
        sampler.advance_(state, n_steps)
        if not clean:
            return state.x
        assert self.config.data_noise is not None  # a run is saved with its defaults resolved
        return denoise(self.energy, state.x, self.config.data_noise)


def load_model(path: Path) -> TrainedModel:
    """The model of a run folder or of a checkpoint file.

    Raises:
        FileNotFoundError, effebm_ext.checkpoint.CheckpointError: as checkpoint.load.
    """
    content: dict[str, Any] = checkpoint.load(path / CHECKPOINT if path.is_dir() else path)
    config = TrainConfig(**content["config"])
    energy = make_energy(config.energy, content["event_shape"])
    energy.load_state_dict(content["trainer"]["energy"])
    chains = content["trainer"]["chains"]
    state = LangevinState(chains["x"], chains["residual"], Key(**chains["key"]), chains["step"])
    return TrainedModel(config, energy, state, content["data"], content["is_image"])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

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

    def __init__(self, path: Path | str, *, overwrite: bool = False) -> None:
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise FileExistsError(f"out: expected a folder, {path} is a file")
        if not overwrite and any((path / name).exists() for name in _FILES):
            raise FileExistsError(
                f"out: {path} already holds a run; choose another, or --overwrite"
            )
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._saved: int | None = None

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
        config = config.resolved(is_image=dataset.is_image)
        history: list[dict[str, float]] = []
        start = time.monotonic()
        seen = self._iteration(
            trainer
        )  # what cannot run ends here, before an older run is replaced
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        text = json.dumps(dataclasses.asdict(config), indent=2)
        (self.path / "config.json").write_text(text + "\n")
        with open(self.path / "metrics.jsonl", "w") as log:
            for i in range(config.iterations):
                if i > 0:
                    seen = self._iteration(trainer)
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
        if not all(bool(p.isfinite().all()) for p in trainer.energy.parameters()):
            raise NonFiniteError(f"iteration {trainer.iterations}: a parameter is not finite")
        checkpoint.save(self.path / CHECKPOINT, content)
        self._saved = trainer.iterations

    def _iteration(self, trainer: Trainer) -> dict[str, float]:
        try:
            return trainer.iteration()
        except NonFiniteError as error:
            good = "there is no checkpoint yet"
            if self._saved is not None:
                path = self.path / CHECKPOINT
                good = f"the last good checkpoint is {path} of iteration {self._saved}"
            raise NonFiniteError(f"{error}; {good}") from error


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
            rows = torch.arange(n) % len(self.state.x)
            x0 = self.state.x[rows]
        sampler = make_sampler(self.config, self.energy)
        state = sampler.init(x0, rng=Key(seed).at(self.state.step))
        if not from_noise and self.state.residual is not None:
            state.residual = self.state.residual[rows].clone()
        sampler.advance_(state, n_steps)
        if not clean:
            return state.x
        assert self.config.data_noise is not None  # a run is saved with its defaults resolved
        return denoise(self.energy, state.x, self.config.data_noise)


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
        chains = content["trainer"]["chains"]
        state = LangevinState(chains["x"], chains["residual"], Key(**chains["key"]), chains["step"])
        return TrainedModel(config, energy, state, content["data"], content["is_image"])
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.CheckpointError(f"checkpoint: {path} is not of a training run") from error


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)

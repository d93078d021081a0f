"""The pictures of a run, drawn while it trains: its chains, its curves and an animation."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from effebm_ext.energies import denoise
from effebm_ext.runs.atomic_files import replacing
from effebm_ext.runs.config import TrainConfig
from effebm_ext.runs.data.dataset import Dataset
from effebm_ext.runs.folder.run_files import ANIMATION, CURVES, FRAMES, SAMPLES, numbered
from effebm_ext.runs.showing import plotting
from effebm_ext.training import Trainer

_SHOWN = 10_000  # data at most
_SHARE = 0.05  # of a run's time that pictures may take while it trains
_FIRST = 15.0  # seconds until the first picture; the first checkpoint may take minutes


class Gallery:
    """Draws into the folder of a run: ``samples.png``, the chains beside data; ``curves.png``, the
    metrics; ``samples/000100.png`` and so on, the chains as they were; and ``samples.gif``, these
    pictures one after the other. While the chains rest, ``samples.png`` shows what is learned then:
    data whose noise the energy takes off, beside the data with their noise. There is no numbered
    picture of that time.

    Args:
        path: the folder of the run.
        config: the resolved configuration of the run.
        dataset: all data of the run.
    """

    def __init__(self, path: Path, config: TrainConfig, dataset: Dataset) -> None:
        self._path, self._config, self._dataset = path, config, dataset
        self._begun = time.monotonic()
        self._spent, self._is_drawn = 0.0, False

    def draw(self, trainer: Trainer, history: Sequence[dict[str, float]]) -> None:
        """Draws the chains and the curves as they are now."""
        self._draw(trainer, history)
        if trainer.chains is not None and trainer.state.step > 0:
            frame = self._path / FRAMES / f"{trainer.iterations:06d}.png"
            frame.parent.mkdir(exist_ok=True)
            with replacing(frame) as temporary:
                shutil.copyfile(self._path / SAMPLES, temporary)

    def draw_first(self, trainer: Trainer, history: Sequence[dict[str, float]]) -> None:
        """Draws, without a number, if nothing was drawn in the first seconds."""
        if not self._is_drawn and time.monotonic() - self._begun >= _FIRST:
            self._draw(trainer, history)

    def _draw(self, trainer: Trainer, history: Sequence[dict[str, float]]) -> None:
        begun = time.monotonic()
        if trainer.chains is not None:
            plotting.save(self._path / SAMPLES, self.figure(trainer))
        plotting.save_curves(self._path / CURVES, history)
        self._spent, self._is_drawn = self._spent + time.monotonic() - begun, True

    def draw_in_time(self, trainer: Trainer, history: Sequence[dict[str, float]]) -> None:
        """Draws, unless pictures have taken their share of the time already: a run of milliseconds
        an iteration would else wait for its pictures most of the time."""
        if self._spent <= _SHARE * (time.monotonic() - self._begun):
            self.draw(trainer, history)

    def animate(self) -> None:
        """Makes the animation of all numbered pictures, if there are two or more."""
        frames = numbered(self._path, FRAMES)
        if len(frames) > 1:
            plotting.save_animation(self._path / ANIMATION, frames)

    def figure(self, trainer: Trainer) -> Figure:
        """Draws the chains without the data noise, in the order of their classes if they have any,
        beside data; in the warm-up, data without their noise beside data with it."""
        if trainer.iterations <= self._config.chains_rest:
            return self._figure_of_warm_up(trainer)
        state, is_image = trainer.state, self._dataset.is_image
        rows = slice(plotting.n_shown(state.x, is_image=is_image))
        noise, kwargs = self._config.removable_noise, state.part(rows).energy_kwargs
        x = denoise(trainer.energy, trainer.samples[rows], noise, kwargs).cpu()
        labels, shown = kwargs.get("y"), self._examples
        return plotting.draw_progress(
            x,
            shown.rows,
            is_image=is_image,
            labels=None if labels is None else labels.cpu(),
            data_labels=None if labels is None else shown.labels,
            title=self._title(trainer.iterations, has_moved=state.step > 0),
        )

    def _figure_of_warm_up(self, trainer: Trainer) -> Figure:
        device, noise = trainer.state.x.device, self._config.data_noise
        n = plotting.n_shown(self._examples.rows, is_image=self._dataset.is_image)
        clean = self._examples.rows[:n]
        generator = torch.Generator().manual_seed(self._config.seed)
        noisy = (clean + noise * torch.randn(clean.shape, generator=generator)).to(device)
        labels = self._examples.labels if "y" in trainer.state.energy_kwargs else None
        kwargs = {} if labels is None else {"y": labels[:n].to(device)}
        return plotting.draw_progress(
            denoise(trainer.energy, noisy, noise, kwargs).cpu(),
            clean,
            is_image=self._dataset.is_image,
            labels=None if labels is None else labels[:n],
            data_labels=None if labels is None else labels[:n],
            title=f"warm-up: data without noise, by the energy of iteration {trainer.iterations}",
            beside=noisy.cpu(),
            beside_title="data with noise",
        )

    @functools.cached_property
    def _examples(self) -> Dataset:
        return self._dataset.examples(_SHOWN, seed=self._config.seed_of_data)

    def _title(self, iterations: int, *, has_moved: bool = True) -> str:
        classes = f", {self._dataset.classes()}" if self._config.conditional else ""
        chains = "chains" if has_moved else "chains, not yet moved,"
        return f"{chains} after {iterations} iteration{'s' * (iterations != 1)}{classes}"

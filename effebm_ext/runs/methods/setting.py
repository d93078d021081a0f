"""The parts from which a method makes the objective of a run."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from effebm_ext.batches import RowsByClass, spread_labels
from effebm_ext.chains.persistent import PersistentChains
from effebm_ext.chains.replay import ReplayBuffer
from effebm_ext.chains.restart import Restart
from effebm_ext.chains.storage import Storage
from effebm_ext.rng import Key
from effebm_ext.rows import Rows
from effebm_ext.runs.methods.starts import DATA, draw_starts, rows_of_starts
from effebm_ext.runs.options.common import CommonOptions
from effebm_ext.samplers import Langevin
from effebm_ext.samplers.divergence import OnDivergence
from effebm_ext.warn import warn

_ROWS = 1000  # of the data, whose mean is near enough to that of all
_NAMED = 10  # classes in a warning


@dataclasses.dataclass(frozen=True)
class Setting:
    """Holds the energy, the data and the options from which a method makes its objective.

    Attributes:
        config: resolved options.
        energy: the energy on its device.
        data: rows to train on ``(n, *event)``, on the CPU.
        labels: int64 ``(n,)``, their labels if the run is conditional.
        generator: the run's CPU generator.
        step_size: the chains' step size, a number or a function of the step.
        move_every: iterations between two moves of the chains.
    """

    config: CommonOptions
    energy: nn.Module
    data: Rows
    labels: Tensor | None
    generator: torch.Generator
    step_size: float | Callable[[int], float]
    move_every: int

    @property
    def device(self) -> torch.device:
        """The device of the energy."""
        return next(self.energy.parameters()).device

    def starts(self, n: int, y: Tensor | None = None) -> Tensor:
        """Draws starts of chains, ``(n, *event)`` on the CPU. If the starts are data and the chains
        have labels ``y``, int64 ``(n,)``, every start has the label of its chain.

        Raises:
            FileNotFoundError, ValueError: as
                :func:`effebm_ext.runs.methods.starts.rows_of_starts`; ValueError also if the run is
                conditional and the starts are rows of a file.
        """
        config = self.config
        if y is not None and config.init == DATA:
            return self.data[self._rows_by_class.draw(y.cpu(), self.generator)]
        return draw_starts(config.init, config.chain_bounds, self._rows, n, self.generator)

    @functools.cached_property
    def _rows(self) -> Rows:
        return rows_of_starts(self.config.init, self.data, labelled=self.labels is not None)

    @functools.cached_property
    def _rows_by_class(self) -> RowsByClass:
        assert self.labels is not None  # only chains of a conditional run have labels
        return RowsByClass(self.labels)

    def labels_of_starts(self, n: int) -> dict[str, Tensor]:
        """Draws labels ``y`` as frequent as in the data; returns nothing if the run is not
        conditional."""
        if self.labels is None:
            return {}
        return {"y": self.labels[torch.randint(len(self.labels), (n,), generator=self.generator)]}

    def chains(self, *, in_loss: bool = True) -> PersistentChains | ReplayBuffer:
        """Makes chains at their starts, in a replay buffer if the options ask for one.

        Args:
            in_loss: whether the loss compares the chains with data of their classes. If so, classes
                that never have a chain are not learnt, and are warned of.
        """
        config = self.config
        restart = None
        if config.restart_probability:
            restart = Restart(
                config.restart_probability, self.starts, self.generator, self.labels_of_starts
            )
        size = config.buffer_size or config.chains
        storage = self._storage()
        kwargs = {}
        if self.labels is not None:
            y = spread_labels(self.labels, size, self.generator)
            if in_loss and restart is None:  # restarts draw labels of all classes
                self._warn_of_classes_without(y)
            kwargs = {"y": y.to(self.device)}

        def starts(n: int, **values: Tensor) -> Tensor:
            return self.starts(n, **values).to(self.device)

        x0 = None if storage else starts(size, **kwargs)
        sampler = langevin(config, self.energy, self.step_size, virial_centre=self._centre())
        options: dict[str, Any] = {
            "rng": Key(config.seed),
            "restart": restart,
            "energy_kwargs": kwargs,
        }
        if config.buffer_size:
            return ReplayBuffer(
                sampler,
                starts if x0 is None else x0,
                size=size if x0 is None else None,
                n_chains=config.chains,
                generator=self.generator,
                storage=storage,
                **options,
            )
        assert x0 is not None  # a storage belongs to a buffer
        return PersistentChains(sampler, x0, **options)

    def _warn_of_classes_without(self, y: Tensor) -> None:
        """Warns of the classes of the data that are not among the labels of the chains."""
        assert self.labels is not None
        classes = self.labels.unique()
        missing = classes[~torch.isin(classes, y)].tolist()
        if not missing:
            return
        name = "buffer_size" if self.config.buffer_size else "chains"
        named = ", ".join(map(str, missing[:_NAMED]))
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        # No error: short trials use few chains, and runs that began with too few must resume.
        warn(
            f"{name}: expected at least {len(classes)}, one chain for each class, got {len(y)}: "
            f"the run does not learn these classes: {named}{more}"
        )

    def _centre(self) -> Tensor | None:
        """Returns the centre of the virial, the mean of some data; None if the chains are samples
        of no density on the whole space, whose virial says nothing."""
        if not self.config.has_density_of_chains:
            return None
        return self.data[:_ROWS].mean(0).to(self.device)

    def _storage(self) -> Storage | None:
        """Returns how the replay buffer keeps its chains; None: as they move.

        Raises:
            ValueError: as :func:`device_of`.
        """
        config, limits = self.config, None
        dtype, device = config.chain_buffer_dtype, config.buffer_device
        if dtype is None and device is None:
            return None
        if device is not None:
            device_of(device, "buffer_device")
        if dtype == torch.uint8:
            step_size = max(config.step_size, config.step_size_end or 0.0)
            noise_std = config.noise_std or math.sqrt(step_size * config.temperature)
            margin = 4 * math.hypot(config.data_noise, noise_std)
            limits = float(self.data.min()) - margin, float(self.data.max()) + margin
            limits = config.chain_bounds or limits
        return Storage(dtype, limits, device)


def langevin(
    config: CommonOptions,
    energy: nn.Module,
    step_size: float | Callable[[int], float],
    *,
    compressed: bool = True,
    virial_centre: Tensor | None = None,
) -> Langevin:
    """Makes the Langevin sampler that resolved options describe, without their compressor if
    asked. With a centre it finds the virial of its chains."""
    compressor = config.chain_compressor if compressed else None
    return Langevin(
        energy,
        step_size=step_size,
        temperature=config.chain_temperature,
        bounds=config.chain_bounds,
        compressor=compressor,
        error_feedback=bool(config.error_feedback) and compressor is not None,
        clip=config.chain_clip,
        averaged_noise=config.averaged_noise,
        statistics=virial_centre is not None,
        virial_centre=virial_centre,
        on_divergence=on_divergence(config),
        compile=config.compile,
        gradient_dtype=config.chain_gradient_dtype,
        shards=config.shards,
        cuda_graph=config.cuda_graph,
    )


def device_of(text: str, name: str) -> torch.device:
    """Returns the device that the text of the option ``name`` names.

    Raises:
        ValueError: the device is unknown or not available.
    """
    try:
        device = torch.device(text)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name}: {text!r} is unknown or not available: {reason}") from error
    return device


def on_divergence(config: CommonOptions) -> OnDivergence:
    """Returns the option ``on_divergence`` with the type that samplers take."""
    return cast(OnDivergence, config.on_divergence)


def gaussian_of(config: CommonOptions, data: Rows) -> tuple[float, float]:
    """Returns mean and standard deviation of all elements of the data with their noise."""
    return float(data.mean()), math.hypot(float(data.std(correction=0)), config.data_noise)

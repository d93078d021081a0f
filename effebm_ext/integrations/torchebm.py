"""The Langevin sampler of torchebm with fused steps and compression.

    from effebm_ext.integrations.torchebm import LangevinDynamics

takes the place of ``from torchebm.samplers import LangevinDynamics``. It was tested with torchebm
0.8.9.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effebm_ext.integrations.chains import Chains, check_compression
from effebm_ext.ops.compressor import Compressor

try:
    from torchebm import samplers as torchebm_samplers
    from torchebm.core import BaseScheduler
    from torchebm.integrators import EulerMaruyamaIntegrator
except ImportError as error:
    raise ImportError(
        "effebm_ext.integrations.torchebm needs torchebm: pip install torchebm==0.8.9"
    ) from error

Energies = Callable[[Tensor], Tensor]


class LangevinDynamics(torchebm_samplers.LangevinDynamics):
    """Samples by ``x <- clamp(x - h * C(grad E) + noise_scale * sqrt(2 h) * xi)``, where h is
    torchebm's step_size; every step is one pass over memory (EFF-EBM, Algorithm 1).

    The losses and trainers of torchebm take it as they take their own sampler, and without a
    compressor it samples the same chains but for the random numbers and the rounding.

    Args:
        model: the energy, a ``torchebm.core.BaseModel``.
        step_size: h > 0, which is gamma / 2 of :func:`effebm_ext.langevin_step_`; a number or a
            scheduler of torchebm.
        noise_scale: a number > 0 or a scheduler, which may reach 0.
        decay: without effect, as in torchebm.
        clamp: bounds ``(lower, upper)`` of the state after every step, or None.
        dtype: of the chains: float32, float64, bfloat16 or float16.
        device: of the chains.
        integrator: only torchebm's default, ``"euler_maruyama"``, which is the fused step.
        compressor: as in :func:`effebm_ext.langevin_step_`.
        error_feedback: feed what compression dropped back into the next step. The memory of it
            begins at zero with every call of :meth:`sample`, and what is returned are the samples
            of :meth:`effebm_ext.Langevin.samples`.

    Raises:
        TypeError: the integrator is of another family.
        ValueError: an argument is out of range, the integrator is another one, or error_feedback
            has no compressor, or one whose error may grow.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        step_size: float | BaseScheduler = 1e-3,
        noise_scale: float | BaseScheduler = 1.0,
        decay: float = 0.0,
        clamp: tuple[float, float] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device | None = None,
        integrator: Any = None,
        *,
        compressor: Compressor | None = None,
        error_feedback: bool = False,
    ) -> None:
        super().__init__(
            model=model,
            step_size=step_size,
            noise_scale=noise_scale,
            decay=decay,
            clamp=clamp,
            dtype=dtype,
            device=device,
            integrator=integrator,
        )
        if type(self.integrator) is not EulerMaruyamaIntegrator:
            raise ValueError(
                "integrator: expected euler_maruyama, which is the fused step, got "
                f"{type(self.integrator).__name__}"
            )
        check_compression(compressor, error_feedback)
        self.compressor, self.error_feedback = compressor, error_feedback

    @torch.no_grad()
    def sample(
        self,
        x: Tensor | None = None,
        dim: int | tuple[int, ...] | None = None,
        n_steps: int = 100,
        n_samples: int = 1,
        thin: int = 1,
        return_trajectory: bool = False,
        return_diagnostics: bool = False,
        reset_schedulers: bool = True,
        *,
        y: Tensor | None = None,
        model_kwargs: dict[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Moves chains by ``n_steps`` steps; the arguments are torchebm's.

        Args:
            x: where the chains start, ``(n_samples, *event)``; None: standard normals of ``dim``.
            dim: the event, a number or a shape, if there is no x.
            n_steps: the number of steps.
            n_samples: the number of chains if there is no x.
            thin: keep every ``thin``-th step.
            return_trajectory: return ``(n_samples, n_steps // thin, *event)`` in the place of
                ``(n_samples, *event)``.
            return_diagnostics: also return ``mean`` and ``var`` over the chains
                ``(n_steps // thin, *event)`` and the mean ``energy`` ``(n_steps // thin,)``.
            reset_schedulers: begin the schedules anew.
            y: condition of the model, short for ``model_kwargs={"y": y}``.
            model_kwargs: keyword arguments of the model.
            generator: random numbers of the start and the steps; None: torch's default one.

        Raises:
            TypeError: model_kwargs is no dict.
            ValueError: thin is below 1, x and dim are both missing, y is given twice, or a
                schedule's value or the shape of a gradient does not fit.
        """
        if thin < 1:
            raise ValueError(f"thin must be >= 1, got {thin}")  # as torchebm words it
        if reset_schedulers:
            self.reset_schedulers()
        start = self._init_state(x, dim, n_samples, generator)
        condition = self._prepare_model_kwargs(self._merge_condition(model_kwargs, y))
        chains = Chains(
            start, self.compressor, error_feedback=self.error_feedback, bounds=self.clamp
        )
        n_kept = n_steps // thin
        trajectory = _Trajectory(start, n_kept) if return_trajectory else None
        diagnostics = _Diagnostics(start, n_kept) if return_diagnostics else None

        def energies(at: Tensor) -> Tensor:
            return self._model_energy(at, condition)

        with self.autocast_context():
            for step in range(n_steps):
                self._step_(chains, condition, generator)
                if (step + 1) % thin == 0:
                    if trajectory is not None:
                        trajectory.keep(chains.samples())
                    if diagnostics is not None:
                        diagnostics.keep(chains.samples(), energies)
        samples = chains.samples() if trajectory is None else trajectory.states
        return samples if diagnostics is None else (samples, diagnostics.found)

    def _step_(
        self, chains: Chains, condition: dict[str, Any], generator: torch.Generator | None
    ) -> None:
        gradient = self._model_gradient(chains.x, condition)
        h = self.get_scheduled_value("step_size")
        noise_std = self.get_scheduled_value("noise_scale") * math.sqrt(2 * h)
        chains.step_(gradient, h, noise_std, generator)
        self.step_schedulers()


class _Trajectory:
    """The states of the kept steps, ``(n_samples, n_kept, *event)``."""

    def __init__(self, start: Tensor, n_kept: int) -> None:
        self.states = start.new_empty(len(start), n_kept, *start.shape[1:])
        self._n = 0

    def keep(self, samples: Tensor) -> None:
        self.states[:, self._n] = samples
        self._n += 1


class _Diagnostics:
    """What torchebm reports of the kept steps: ``mean``, ``var`` and ``energy``."""

    def __init__(self, start: Tensor, n_kept: int) -> None:
        event = start.shape[1:]
        shapes = {"mean": (n_kept, *event), "var": (n_kept, *event), "energy": (n_kept,)}
        self.found = {name: start.new_empty(shape) for name, shape in shapes.items()}
        self._n = 0

    def keep(self, samples: Tensor, energies: Energies) -> None:
        variance = samples.var(0, correction=0)
        if len(samples) > 1:  # torchebm leaves the zeros of a single chain
            variance.clamp_(1e-10, 1e10)
        self.found["mean"][self._n] = samples.mean(0)
        self.found["var"][self._n] = variance
        self.found["energy"][self._n] = energies(samples).mean()
        self._n += 1

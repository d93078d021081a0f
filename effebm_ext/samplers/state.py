"""The state of Langevin chains, and what a sampler reports of its steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from effebm_ext.ops.checks import row_size
from effebm_ext.rng import Key
from effebm_ext.samplers.trajectory import PackedTrajectory
from effebm_ext.shown import as_call

if TYPE_CHECKING:
    from typing_extensions import Self


class _Bytes(NamedTuple):
    """A tensor of a dtype of one byte."""

    bytes: Tensor
    dtype: torch.dtype


@dataclasses.dataclass
class LangevinState:
    """Holds chains at one moment; with a sampler, everything the next step depends on.

    A sampler that keeps more with its chains has a subclass with more fields. Fields that are
    tensors have a row for every chain: they are copied, taken, put and saved with their chains.

    Attributes:
        x: ``(n_chains, *event)``.
        residual: error-feedback memory of x's shape, float32 (float64 for float64), or None.
        key: names the noise; step ``i`` uses ``key.at(i)``.
        step: steps made so far.
        energy_kwargs: keyword arguments of the energy at every evaluation. Tensors among them
            whose first axis is n_chains are values per chain, such as labels, and stay with their
            chains; all chains share everything else, which is not copied. Only the first axis makes
            the difference: a tensor that all chains share, and that may have n_chains rows, should
            be bound to the energy, by ``functools.partial(energy, table=table)``.
        start: the starts of the chains, like ``x``; None unless the sampler sends chains back.
    """

    x: Tensor
    residual: Tensor | None
    key: Key
    step: int = 0
    energy_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    start: Tensor | None = None

    __repr__ = as_call

    def clone(self) -> Self:
        """Returns a copy that shares only the energy_kwargs that all chains share."""
        return self.mapped(torch.clone)

    def values_per_chain(self) -> dict[str, Tensor]:
        """Returns the energy_kwargs that hold a value per chain, ``(n_chains, ...)`` each."""
        return {
            name: value
            for name, value in self.energy_kwargs.items()
            if is_per_chain(value, len(self.x))
        }

    def take(self, rows: Tensor) -> Self:
        """Returns copies of the chains ``rows`` (int64 ``(m,)``, on their device), with what
        belongs to them. Key and step stay, so the copies add the noise of chains 0 to m - 1. A
        sampler's step sizes per chain are no part of the state and go by row."""
        return self.mapped(lambda t: t[rows])

    def to(self, device: torch.device | str) -> Self:
        """Returns the chains on a device; what all chains share stays where it is. Copies from
        pinned memory do not wait."""
        return self.mapped(lambda t: t.to(device, non_blocking=t.is_cpu))

    def part(self, rows: slice) -> Self:
        """Returns the chains ``rows`` without a copy: the part shares their memory, and its chains
        add the noise that they add in the whole. Autograd does not learn that a part has written
        there, so that it does not refuse the gradients of other parts."""
        part = self.mapped(lambda t: t[rows].data)
        first_chain = self.key.first_chain + rows.indices(len(self.x))[0]
        part.key = dataclasses.replace(self.key, first_chain=first_chain)
        return part

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Returns the state with a function applied to all tensors that belong to the chains."""
        values = {name: function(value) for name, value in self.values_per_chain().items()}
        own: dict[str, Any] = {name: function(value) for name, value in self._tensors().items()}
        return dataclasses.replace(self, energy_kwargs={**self.energy_kwargs, **values}, **own)

    def put_(self, rows: Tensor, chains: LangevinState) -> None:
        """Reverses :meth:`take`: puts ``chains`` in the place of ``rows`` and takes their step."""
        theirs = chains._tensors()
        for name, value in self._tensors().items():
            if name in theirs:
                value[rows] = theirs[name]
        for name, value in self.values_per_chain().items():
            value[rows] = chains.energy_kwargs[name]
        self.step = chains.step

    def state_dict(self) -> dict[str, Any]:
        """Returns plain tensors and numbers, for a checkpoint. The tensors are not copied. Only
        energy_kwargs with a value per chain are included; the others do not change."""
        return {
            "residual": self.residual,
            "key": dataclasses.asdict(self.key),
            "step": self.step,
            "energy_kwargs": self.values_per_chain(),
            **self._tensors(),
        }

    def loaded(self, saved: dict[str, Any]) -> Self:
        """Returns a copy of the state that :meth:`state_dict` was made from, on the device of this
        state, which must have the same chains.

        Raises:
            KeyError, TypeError: something is missing.
            ValueError: the chains are not like the chains of this state.
        """
        values, like = saved["energy_kwargs"], self.values_per_chain()
        own = self._tensors()
        if saved["x"].shape != self.x.shape:
            raise ValueError(
                f"chains: expected shape {tuple(self.x.shape)}, got {tuple(saved['x'].shape)}"
            )
        if (saved["residual"] is None) != (self.residual is None):
            raise ValueError("chains: expected a residual if and only if the sampler has one")
        if _shapes(values) != _shapes(like):
            raise ValueError(
                f"chains: expected energy_kwargs of the shapes {_shapes(like)}, "
                f"got {_shapes(values)}"
            )
        for name, value in own.items():
            if saved[name].shape != value.shape:
                raise ValueError(
                    f"chains: expected {name} {tuple(value.shape)}, got {tuple(saved[name].shape)}"
                )
            if saved[name].dtype != value.dtype:
                raise ValueError(
                    f"chains: expected {name} in {value.dtype}, got {saved[name].dtype}"
                )
        values = {name: v.to(like[name].device, copy=True) for name, v in values.items()}
        return dataclasses.replace(
            self,
            key=Key(**saved["key"]),
            step=saved["step"],
            energy_kwargs={**self.energy_kwargs, **values},
            **{name: saved[name].to(value.device, copy=True) for name, value in own.items()},
        )

    def __getstate__(self) -> dict[str, Any]:
        # pickle cannot read tensors of float8 that it has written, so they travel as bytes.
        return {
            name: _Bytes(value.view(torch.uint8), value.dtype)
            if isinstance(value, Tensor) and value.dtype.is_floating_point and value.itemsize == 1
            else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            as_was = value.bytes.view(value.dtype) if isinstance(value, _Bytes) else value
            setattr(self, name, as_was)

    def _tensors(self) -> dict[str, Tensor]:
        """Returns the fields that are tensors; each has a row for every chain."""
        fields = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: value for name, value in fields if isinstance(value, Tensor)}

    @classmethod
    def without_chains(cls, like: Tensor, *, labelled: bool) -> LangevinState:
        """Returns a state of no chains, whose events would be like the rows of ``like``; with
        labels, ``y``, if asked."""
        labels = {"y": torch.zeros(0, dtype=torch.int64, device=like.device)} if labelled else {}
        return LangevinState(like[:0], None, Key(0), 0, labels)

    def begin_anew_(self, chains: Tensor) -> None:
        """Puts ``chains``, bool ``(n_chains,)``, back to their start, with a residual of zero."""
        assert self.start is not None
        rows = chains.view(-1, *[1] * (self.x.dim() - 1))
        self.x.copy_(torch.where(rows, self.start, self.x))
        if self.residual is not None:
            self.residual.masked_fill_(rows, 0)


def is_per_chain(value: object, n_chains: int) -> bool:
    """Says whether a keyword argument of the energy holds a value for each of ``n_chains``."""
    return isinstance(value, Tensor) and value.shape[:1] == (n_chains,)


def _shapes(values: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in values.items()}


class StepInfo(NamedTuple):
    """Reports what a step saw at the state where it started, ``(n_chains,)`` each. For several
    steps made at once it reports what the last step saw; ``diverged`` and ``acceptance`` cover all
    of them.

    Attributes:
        energy: the energies; None for a score.
        grad_norm: Euclidean norm of the energy's gradient; None unless the sampler has
            ``statistics=True``.
        fraction_clipped: the fraction of the gradient's elements that clip changed; None unless
            the sampler has ``statistics=True``.
        diverged: bool, the chains that had an energy (for a sampler with a score: a score) that is
            NaN or infinite where one of the steps began, or have a state that is not finite where
            the call of the sampler ended. None if no step was made.
        acceptance: the probability that an adjusted step is accepted, float64, averaged over
            several steps made at once. None for unadjusted steps.
        virial: ``(x - m) . grad E(x) / (d temperature)``, with the sampler's ``virial_centre`` as m
            and the whole gradient, before clip and compression; its mean is 1 over samples of the
            target (:func:`effebm_ext.evaluation.virial`). None unless the sampler has
            ``statistics=True``, and at temperature 0; infinite or NaN for single chains at 0.
    """

    energy: Tensor | None
    grad_norm: Tensor | None = None
    fraction_clipped: Tensor | None = None
    diverged: Tensor | None = None
    acceptance: Tensor | None = None
    virial: Tensor | None = None

    @classmethod
    def of(
        cls, energy: Tensor | None, statistics: Tensor | None, x: Tensor, virial: Tensor | None
    ) -> StepInfo:
        """Makes an info from the statistics of :func:`effebm_ext.langevin_step_` at ``x``."""
        if statistics is None:
            return cls(energy)
        squares, clipped = statistics.unbind(1)
        return cls(energy, squares.sqrt(), clipped / max(1, row_size(x)), virial=virial)

    @classmethod
    def joined(cls, infos: list[StepInfo]) -> StepInfo:
        """Joins the infos of groups of chains that made the same steps."""
        fields = zip(*infos, strict=True)
        return cls(*(None if f[0] is None else torch.cat(f, dim=-1) for f in fields))

    @classmethod
    def stack(cls, infos: list[StepInfo]) -> StepInfo:
        """Stacks the infos of several steps: ``(n_steps, n_chains)`` each."""
        fields = zip(*infos, strict=True) if infos else [()] * len(cls._fields)
        return cls(*(torch.stack(f) if f and f[0] is not None else None for f in fields))


class Run(NamedTuple):
    """A finished run.

    Attributes:
        x: the final samples, ``(n_chains, *event)``.
        trajectory: the samples after every ``thin`` steps, ``(n_kept, n_chains, *event)``; or a
            packed trajectory that gives the states, if the run was asked to pack.
        info: the infos of each of these steps, ``(n_kept, n_chains)``.
    """

    x: Tensor
    trajectory: Tensor | PackedTrajectory
    info: StepInfo

"""Steps of the Langevin sampler as CUDA graphs, which a GPU runs without Python.

torch captures the kernels of some steps (energy, gradient, fused step), and a replay launches them
at once. Captured chains have the bits of chains that are not captured, as far as torch's own
kernels give the same bits at every call.

The graphs of a *program*, a sampler with chains of one layout, read and write tensors of their own
at fixed addresses. Before a replay the chains are copied there, and back after it. The key, whose
position the graphs advance, lies on the device too, with the step sizes and standard deviations of
the noise, which the host computes for the steps of a replay. A step size that is a tensor on the
device of the chains, and the parameters of the energy, are read where they are.

What Python decides is decided when a program is captured. Options of the sampler, keyword arguments
that are not on the device, the training mode and the addresses of the parameters and buffers of the
energy's modules, and autocast name the program; if one of them is another, another program is
captured. The modules of a function are those that it names. What else an energy reads in Python,
such as a number that is its attribute, keeps its value. No energy may write its keyword arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from effebm_ext.ops.checks import chain_scalar, compute_dtype
from effebm_ext.rng import DeviceKey
from effebm_ext.samplers.cuda_graphs import Graphs
from effebm_ext.samplers.divergence import Watch
from effebm_ext.samplers.langevin_steps import LangevinSteps
from effebm_ext.samplers.program_key import modules_of, options_of, program_key, reads_step_size
from effebm_ext.samplers.state import LangevinState, StepInfo
from effebm_ext.warn import warn

# A call is a sequence of replays: any number of steps takes at most four graphs, whose captures ask
# for no more steps than the first call makes. In the longest graph it hardly counts
# what a replay takes by itself.
_LENGTHS = (64, 16, 4, 1)
_KEPT = 8  # programs; each holds memory for the activations of the energy

# Step sizes and standard deviations of the noise with a row for every step, as the ops take them;
# None where there is no such argument, or where the graph finds it by itself.
_Scalars = tuple[Tensor | None, Tensor | None]


class CapturedSteps:
    """Makes the steps of a sampler by CUDA graphs. A copy has no graphs and captures its own.

    Attributes:
        taken: ``captured`` if the last steps on a GPU were made by graphs, else ``uncaptured``.
    """

    def __init__(self) -> None:
        self.taken = "uncaptured"
        self._possible = True
        self._programs: dict[Hashable, _Program] = {}  # the one used last is the last

    def __reduce__(self) -> tuple[type[CapturedSteps], tuple[()]]:
        return CapturedSteps, ()

    def can_move(self, state: LangevinState) -> bool:
        """Says whether graphs may move the chains: not on the CPU, nor in a graph that the caller
        captures or compiles, nor after a capture that failed."""
        if torch.compiler.is_compiling() or not (self._possible and state.x.is_cuda):
            return False
        return not torch.cuda.is_current_stream_capturing()

    def move_(
        self, sampler: LangevinSteps, state: LangevinState, n_steps: int, watch: Watch
    ) -> StepInfo:
        """Does what the sampler does without graphs. If the steps cannot be captured, a warning
        says so once, and the sampler makes them from then on."""
        info, key = StepInfo(None), program_key(sampler, state)
        while n_steps > 0:
            length = next(length for length in _LENGTHS if length <= n_steps)
            scalars = _scalars(sampler, state, length, watch)
            program = self._program(key, sampler, state, scalars)
            try:
                program.capture(sampler, length)
            except Exception as error:  # torch, CUDA and energies raise many kinds
                self._give_up(error)
                return sampler._move_(state, n_steps, watch)
            info = program.replay(state, length, scalars, watch)
            self.taken = "captured"
            n_steps -= length
        return info

    def _program(
        self, key: Hashable, sampler: LangevinSteps, state: LangevinState, scalars: _Scalars
    ) -> _Program:
        key = key, *(None if rows is None else rows.shape[1:] for rows in scalars)
        program = self._programs.pop(key, None) or _Program(sampler, state, scalars)
        self._programs[key] = program
        for oldest in list(self._programs)[:-_KEPT]:
            del self._programs[oldest]
        return program

    def _give_up(self, error: Exception) -> None:
        self._possible, self.taken = False, "uncaptured"
        self._programs.clear()
        first = error.__context__ or error  # torch raises an error of its own after the first
        reason = next(iter(str(first).splitlines()), type(first).__name__)
        warn(f"cuda_graph: the steps are made without, as they were not captured: {reason}")


class _Program:
    """Holds the graphs of a sampler and of chains of one layout, and the tensors of the graphs.

    Args:
        sampler: makes the steps. What it makes of copies of the chains to warm up is thrown away.
        state: the chains.
        scalars: of their next steps.
    """

    def __init__(self, sampler: LangevinSteps, state: LangevinState, scalars: _Scalars) -> None:
        self._keeps = options_of(sampler), dict(state.energy_kwargs)  # no other object has their id
        device = state.x.device
        with torch.inference_mode(False):
            self._chains = state.clone()
            self._chains.energy_kwargs = {
                name: value.detach().clone() if isinstance(value, Tensor) else value
                for name, value in state.energy_kwargs.items()
            }
            self._key = self._chains.key = DeviceKey(device, state.key.first_chain)
            self._tables = [
                None if rows is None else
                torch.empty(_LENGTHS[0], *rows.shape[1:], dtype=rows.dtype, device=device)
                for rows in scalars
            ]  # fmt: skip
        self._filled: list[Tensor | None] = [None, None]  # the numbers in the tables
        self._position: tuple[int, int] | None = None  # seed and offset of the key on the device
        self._graphs = Graphs(device)
        self._replays: dict[int, tuple[Callable[[], None], tuple[StepInfo, Tensor, Tensor]]] = {}
        self._load(state, scalars)
        self._warm_up(sampler)

    def capture(self, sampler: LangevinSteps, length: int) -> None:
        """Captures so many steps, if they are not captured yet.

        Raises:
            Exception: they cannot be captured.
        """
        if length not in self._replays:
            steps = functools.partial(self._steps, sampler, length)
            self._replays[length] = self._graphs.record(steps)

    def replay(
        self, state: LangevinState, length: int, scalars: _Scalars, watch: Watch
    ) -> StepInfo:
        """Moves the chains by so many steps, which are captured; returns what the last one saw."""
        state.key.at(state.step + length - 1)  # raises if the stream ends before
        self._load(state, scalars)
        replay, (info, values, probes) = self._replays[length]
        replay()
        self._position = state.key.seed, state.key.offset + state.step + length
        with torch.inference_mode():  # it may write what was made there
            for theirs, own in zip(_moved(state), _moved(self._chains), strict=True):
                theirs.copy_(own)
        state.step += length
        watch.steps(state, values.clone(), probes.clone())
        return StepInfo(*(None if seen is None else seen.clone() for seen in info))

    def _steps(self, sampler: LangevinSteps, length: int) -> tuple[StepInfo, Tensor, Tensor]:
        """Makes steps of the own chains, which is what graphs repeat. Returns what the last step
        saw, its energies or scores, and probes of all steps."""
        chains = self._chains
        chains.step = 0
        scalars = sampler._scalars if self._tables[0] is None else self._row
        watch = sampler._watch(chains)
        with torch.inference_mode(False):
            info = sampler._steps_(chains, length, watch, scalars)
            self._key.advance_(length)
            return info, *watch.folded(chains)

    def _row(self, step: int, watch: Watch) -> tuple[Tensor, Tensor | None]:
        step_sizes, noise_stds = self._tables
        assert step_sizes is not None
        return step_sizes[step], None if noise_stds is None else noise_stds[step]

    def _load(self, state: LangevinState, scalars: _Scalars) -> None:
        """Puts the chains, their key and the arguments of their next steps where graphs read."""
        with torch.inference_mode():
            for own, theirs in zip(_tensors(self._chains), _tensors(state), strict=True):
                own.copy_(theirs)
        key = state.key.at(state.step)
        if (key.seed, key.offset) != self._position:
            self._key.put_(key)
        for i, (table, rows) in enumerate(zip(self._tables, scalars, strict=True)):
            if table is None or rows is None or self._holds(i, rows):
                continue
            self._filled[i] = rows if rows.is_cpu else None
            table[: len(rows)].copy_(rows, non_blocking=True)

    def _holds(self, i: int, rows: Tensor) -> bool:
        """Says whether a table holds these numbers, as it does where the step size is a number."""
        filled = self._filled[i]
        return rows.is_cpu and filled is not None and torch.equal(rows, filled)

    def _warm_up(self, sampler: LangevinSteps) -> None:
        """Makes steps that are thrown away, also by the modules that note every call in buffers."""
        buffers = [b for module in modules_of(sampler) for b in module.buffers()]
        before = [buffer.clone() for buffer in buffers]
        self._graphs.warm_up(functools.partial(self._steps, sampler, 1))
        with torch.no_grad():
            for buffer, was in zip(buffers, before, strict=True):
                buffer.copy_(was)


def _tensors(state: LangevinState) -> list[Tensor]:
    """Returns all tensors that the steps read."""
    values = (*_moved(state), state.start, *state.energy_kwargs.values())
    return [value for value in values if isinstance(value, Tensor)]


def _moved(state: LangevinState) -> list[Tensor]:
    """Returns the tensors that the steps write."""
    return [state.x] if state.residual is None else [state.x, state.residual]


def _scalars(sampler: LangevinSteps, state: LangevinState, length: int, watch: Watch) -> _Scalars:
    """Returns the scalars of the next steps, which the host computes as it does for steps that are
    not captured."""
    if reads_step_size(sampler, state):
        return None, None
    changes = callable(sampler.step_size)
    rows = []
    for step in range(state.step, state.step + (length if changes else 1)):
        step_size, noise_std = sampler._scalars(step, watch)
        if isinstance(step_size, Tensor):  # a schedule may write the next one there
            step_size = step_size.clone()
        rows.append((step_size, noise_std))
    step_sizes, noise_stds = zip(*rows, strict=True)
    noises = None if noise_stds[0] is None else _rows(noise_stds, state.x, "noise_std")
    return _rows(step_sizes, state.x, "step_size"), noises


def _rows(values: tuple[Any, ...], x: Tensor, name: str) -> Tensor:
    """Returns numbers or tensors as the ops take them, one after another: on the host if all are
    numbers, else on x's device. One value stands for all steps."""
    dtype, made = compute_dtype(x.dtype), [chain_scalar(value, x, name) for value in values]
    if all(tensor is None for _, tensor in made):
        rows = torch.tensor([number for number, _ in made], dtype=dtype, device="cpu")
    else:
        rows = torch.stack(torch.broadcast_tensors(*(
            torch.full((), number, dtype=dtype, device=x.device) if tensor is None else tensor
            for number, tensor in made
        )))  # fmt: skip
    return rows.repeat(_LENGTHS[0], *[1] * (rows.dim() - 1)) if len(values) == 1 else rows

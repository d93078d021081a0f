"""Barriers of blocks (bar.sync, bar.red, named ones) and of clusters."""

from __future__ import annotations

import numpy as np

from .machine import Machine
from .syntax import Instruction

_CLUSTER_ID = 16  # block barriers are numbered 0 to 15


class BlockBarriers:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.identity = np.full(machine.threads, -1, np.int8)
        self.predicate = np.zeros(machine.threads, bool)
        self.arrived = np.zeros(machine.threads, bool)  # at the cluster's barrier, not yet waiting
        self.completed = self.cluster_completed = 0

    def arrive(
        self, thread: np.ndarray, pc: int, at: Instruction, pcs: np.ndarray, waiting: np.ndarray
    ) -> np.ndarray:
        """Records an arrival and returns the threads that may go on."""
        machine, kinds = self.machine, at.modifiers
        if "cluster" in kinds:
            if "arrive" in kinds:
                if self.arrived[thread].any():
                    raise at.error("a thread arrives twice at the cluster's barrier")
                self.arrived[thread] = True
                return thread
            if not self.arrived[thread].all():
                raise at.error("a thread waits for the cluster's barrier without having arrived")
            self.identity[thread] = _CLUSTER_ID
            return self._complete(_CLUSTER_ID, None, pcs, waiting)
        if "sync" not in kinds and "red" not in kinds:
            raise at.error("unsupported instruction")
        frame, operands = machine.frame_at[pc], list(at.operands)
        if "red" in kinds:
            predicate = frame.reader(operands.pop(), "pred", at)
            self.predicate[thread] = predicate(thread)
            operands.pop(0)
        values = [np.unique(frame.reader(o, "u32", at)(thread)) for o in operands]
        if any(len(v) != 1 for v in values):
            raise at.error("barrier numbers that differ between threads are not supported")
        name = int(values[0][0])
        count = int(values[1][0]) if len(values) > 1 else None
        self.identity[thread] = name
        return self._complete(name, count, pcs, waiting)

    def after_exit(self, pcs: np.ndarray, waiting: np.ndarray) -> np.ndarray:
        """A cluster's barrier waits only for threads that have not exited."""
        return self._complete(_CLUSTER_ID, None, pcs, waiting)

    def _complete(
        self, name: int, count: int | None, pcs: np.ndarray, waiting: np.ndarray
    ) -> np.ndarray:
        machine = self.machine
        cluster = name == _CLUSTER_ID
        group = machine.padded * (machine.shape.cluster if cluster else 1)
        here = waiting & (self.identity == name)
        present = here.reshape(-1, group)
        taking = machine.exists & (pcs < len(machine.code)) if cluster else machine.exists
        expected = taking.reshape(-1, group).sum(1) if count is None else count
        done = (present.sum(1) == expected) & present.any(1)
        if not done.any():
            return np.empty(0, np.int64)
        released = np.flatnonzero(here & np.repeat(done, group))
        self._check_warps(released, pcs)
        # bar.red instructions at different places complete together.
        for place in np.unique(pcs[released]):
            self._reduce(int(place), released, pcs)
        blocks = np.unique(machine.block[released])
        races = machine.shared.races
        if count is None or count == machine.shape.block_threads:
            races.end_block_barrier(blocks, cluster)
        else:
            self._end_partial_barrier(released)
        if cluster:
            self.cluster_completed += int(done.sum())
            self.arrived[released] = False
        else:
            self.completed += int(done.sum())
        self.identity[released] = -1
        return released

    def _check_warps(self, released: np.ndarray, pcs: np.ndarray) -> None:
        # bar.sync is .aligned: a warp executes one and the same instruction.
        at = self.machine.code[int(pcs[released[0]])]
        if "aligned" not in at.modifiers and at.opcode == "barrier":
            return
        warp, first = np.unique(released // 32, return_index=True)
        expected = pcs[released[first]][np.searchsorted(warp, released // 32)]
        if (pcs[released] != expected).any():
            raise at.error("threads of one warp are at different barrier instructions")

    def _end_partial_barrier(self, released: np.ndarray) -> None:
        # The race checker has no orders between some warps of a block. Taking a named barrier of
        # a part for one of the block can hide a race but invents none.
        races = self.machine.shared.races
        races.end_block_barrier(np.unique(self.machine.block[released]), False)

    def _reduce(self, place: int, released: np.ndarray, pcs: np.ndarray) -> None:
        at, machine = self.machine.code[place], self.machine
        if "red" not in at.modifiers:
            return
        rows = np.zeros(machine.threads, bool)
        rows[released] = self.predicate[released]
        count = rows.reshape(-1, machine.padded).sum(1)
        taking = np.zeros(machine.threads, bool)
        taking[released] = True
        total = taking.reshape(-1, machine.padded).sum(1)
        if "popc" in at.modifiers:
            value = count.astype(np.uint32)
        else:
            value = count == total if "and" in at.modifiers else count > 0
        thread = released[pcs[released] == place]
        machine.frame_at[place].writer(at.operands[0], at)(thread, value[machine.block[thread]])

"""Runs all threads of a launch, always those at the lowest program counter.

With nvcc's block order, diverged threads come together again where their paths meet. Threads that
poll memory let all others go first from time to time, since they may wait for one of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import access, arithmetic, bits, compare, convert, moves  # noqa: F401  they register builders
from .barriers import BlockBarriers
from .calls import Calls, call_parts
from .counters import Counters
from .frame import Frame
from .machine import Machine
from .registry import BUILDERS
from .syntax import Instruction, PtxError
from .warp import WARP_BUILDERS, is_warp_instruction

READY, AT_BARRIER, AT_WARP, POLLING = 0, 1, 2, 3
# A thread may look so often before it lets others go first. A loop that retries an atomic until it
# wins ends soon, and its threads stay together for what follows.
_PATIENCE = 8


class Scheduler:
    def __init__(self, machine: Machine, max_steps: int) -> None:
        self.machine, self.max_steps = machine, max_steps
        self.end = len(machine.code)
        entry = machine.frames[-1]
        self.pc = np.where(machine.exists, entry.base_pc, self.end)
        self.state = np.zeros(machine.threads, np.int8)
        self.masks = np.zeros(machine.threads, np.uint32)
        self.barriers = BlockBarriers(machine)
        self.calls = Calls(machine)
        self.executed = [0] * self.end
        self.steps = 0
        self.warp_barriers = 0
        everyone = machine.exists.reshape(-1, 32).astype(np.uint32)
        self.lanes_of_warp = (everyone << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)
        self.builds: list[Callable[..., None]] = []
        self.kinds: list[str] = []
        self.predicates: list[np.ndarray | None] = []
        for frame, at in zip(machine.frame_at, machine.code, strict=True):
            kind = _kind(at)
            self.kinds.append(kind)
            self.builds.append(self._build(kind, frame, at))
            name = at.predicate.name if at.predicate is not None else None
            self.predicates.append(frame.registers[name] if name is not None else None)
        self.looks = {pc: np.zeros(machine.threads, np.int64) for pc in _polling_branches(machine)}
        self.last_round = b""

    def _build(self, kind: str, frame: Frame, at: Instruction) -> Callable[..., None]:
        if kind not in ("warp", "plain"):
            return _unreachable
        builder = (WARP_BUILDERS if kind == "warp" else BUILDERS).get(at.opcode)
        if builder is None:
            raise at.error("unsupported instruction")
        try:
            return builder(frame, at)
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise at.error(f"unsupported instruction ({error!r})") from error

    def run(self) -> None:
        with np.errstate(all="ignore"):
            while True:
                runnable = (self.pc < self.end) & (self.state == READY)
                if not runnable.any():
                    if self._look_again():
                        continue
                    break
                waiting_pcs = self.pc[runnable]
                low = int(waiting_pcs.min())
                later = waiting_pcs[waiting_pcs > low]
                thread = np.flatnonzero(runnable & (self.pc == low))
                self._run_group(thread, low, int(later.min()) if len(later) else self.end + 1)
        if (self.pc < self.end).any():
            raise self._deadlock()
        if self.machine.shared.races.remote.any():
            raise PtxError(
                "a block may exit while another uses its shared memory: no barrier of the cluster"
                " follows the last remote access"
            )

    def _run_group(self, thread: np.ndarray, pc: int, stop: int) -> None:
        """Runs threads that are together at pc until they part, wait, or meet those at stop."""
        machine, pcs = self.machine, self.pc
        code, executed, races = machine.code, self.executed, machine.shared.races
        full: slice | None = slice(None) if len(thread) == machine.threads else None
        while pc < stop:
            if pc >= self.end:
                at = code[-1]
                raise at.error("control runs past the last instruction")
            self.steps += 1
            races.clock += 1
            if self.steps > self.max_steps:
                raise code[pc].error(f"still running after {self.max_steps} steps")
            at, kind, predicate = code[pc], self.kinds[pc], self.predicates[pc]
            chosen, lanes = thread, full if full is not None else thread
            if predicate is not None:
                wanted = ~predicate[lanes] if at.negated else predicate[lanes]
                if not wanted.all():
                    chosen = lanes = thread[wanted]
            executed[pc] += len(chosen)
            if kind == "plain":
                if len(chosen):
                    self.builds[pc](lanes)
                pc += 1
                continue
            if not len(chosen):
                pc += 1
                continue
            if kind == "branch":
                target = machine.frame_at[pc].target(at.operands[0], at)
                if pc in self.looks:
                    pcs[thread] = pc + 1
                    pcs[chosen] = target
                    self._poll(chosen, pc)
                    return
                if len(chosen) == len(thread):
                    pc = target
                    if pc > stop:
                        break
                    continue
                pcs[thread] = pc + 1
                pcs[chosen] = target
                return
            # Everything else ends the run of this group; threads not chosen go on alone.
            pcs[thread] = pc + 1
            pcs[chosen] = pc
            self._control(kind, chosen, pc, at)
            return
        pcs[thread] = pc

    def _control(self, kind: str, thread: np.ndarray, pc: int, at: Instruction) -> None:
        machine = self.machine
        if kind == "exit" or (kind == "return" and machine.frame_at[pc].function.is_entry):
            self._exit(thread)
        elif kind == "return":
            self.pc[thread] = self.calls.leave(thread, pc)
        elif kind == "call":
            self.pc[thread] = self.calls.enter(thread, pc, at)
        elif kind == "trap":
            raise at.error(f"trap in thread {int(machine.in_block[thread[0]])}")
        elif kind == "table":
            frame = machine.frame_at[pc]
            index = frame.reader(at.operands[0], "u32", at)(thread)
            names = frame.function.branch_tables[at.operands[1].name]
            if (index >= len(names)).any():
                raise at.error("brx.idx beyond its table")
            targets = [frame.base_pc + frame.function.labels[name] for name in names]
            self.pc[thread] = np.array(targets)[index]
        elif kind == "barrier":
            self.state[thread] = AT_BARRIER
            waiting = self.state == AT_BARRIER
            self._release(self.barriers.arrive(thread, pc, at, self.pc, waiting))
        else:
            self._warp(thread, pc, at)

    def _release(self, thread: np.ndarray) -> None:
        self.state[thread] = READY
        self.pc[thread] += 1

    def _exit(self, thread: np.ndarray) -> None:
        self.pc[thread] = self.end
        if self.machine.shape.cluster > 1:
            exited = (self.pc >= self.end).reshape(-1, self.machine.padded)
            self.machine.shared.gone[:] = exited.all(1)
            waiting = self.state == AT_BARRIER
            self._release(self.barriers.after_exit(self.pc, waiting))

    def _warp(self, thread: np.ndarray, pc: int, at: Instruction) -> None:
        """Threads wait until all lanes that their mask names are at this instruction."""
        machine = self.machine
        mask = machine.frame_at[pc].reader(at.operands[-1], "u32", at)(thread)
        mask = np.broadcast_to(mask, thread.shape) & self.lanes_of_warp[thread // 32]
        own = (mask >> machine.lane[thread]) & np.uint32(1)
        if not own.all():
            raise at.error("the mask does not name the thread that executes this")
        self.masks[thread] = mask
        self.state[thread] = AT_WARP
        here = (self.state == AT_WARP) & (self.pc == pc)
        lanes = np.arange(32, dtype=np.uint32)
        arrived = (here.reshape(-1, 32).astype(np.uint32) << lanes).sum(1, dtype=np.uint32)
        gone = ((self.pc >= self.end) & machine.exists).reshape(-1, 32).astype(np.uint32)
        gone_bits = (gone << lanes).sum(1, dtype=np.uint32)[thread // 32]
        if (mask & gone_bits).any():
            raise at.error("the mask names lanes that have exited")
        waiting = np.flatnonzero(here)
        masks = self.masks[waiting]
        ready = (arrived[waiting // 32] & masks) == masks
        if (masks != self.lanes_of_warp[waiting // 32]).any():
            # Lanes whose masks name each other must name the same ones.
            rows = self.masks.reshape(-1, 32)[waiting // 32]
            named = ((masks[:, None] >> lanes) & np.uint32(1)).astype(bool)
            differ = named & (rows != masks[:, None]) & here.reshape(-1, 32)[waiting // 32]
            if differ.any():
                raise at.error("lanes of one warp give overlapping masks that differ")
        released = waiting[ready]
        if not len(released):
            return
        if at.opcode == "bar":
            self.warp_barriers += len(np.unique(released // 32))
        self.builds[pc](released, masks[ready])
        self.state[released] = READY
        self.pc[released] = pc + 1

    def _poll(self, thread: np.ndarray, pc: int) -> None:
        # Looks are counted apart for every branch, so that threads of a loop around a grid's
        # barrier stay together although only some of them wait in it.
        looks = self.looks[pc]
        looks[thread] += 1
        self.state[thread[looks[thread] % _PATIENCE == 0]] = POLLING

    def _look_again(self) -> bool:
        """Wakes the polling threads, unless this changed nothing the last time."""
        polling = np.flatnonzero(self.state == POLLING)
        # Their registers hold what they read from memory.
        registers = [r[polling] for f in self.machine.frames for r in f.registers.values()]
        now = b"".join(part.tobytes() for part in (self.pc, self.state, *registers))
        if not len(polling) or now == self.last_round:
            return False
        self.last_round = now
        self.state[polling] = READY
        return True

    def _deadlock(self) -> PtxError:
        stuck = np.flatnonzero(self.pc < self.end)
        at = self.machine.code[int(self.pc[stuck[0]])]
        gone = int(((self.pc >= self.end) & self.machine.exists).sum())
        places = sorted({self.machine.code[int(p)].line for p in np.unique(self.pc[stuck])})
        polling = int((self.state[stuck] == POLLING).sum())
        polls = f" and {polling} poll memory that nobody changes" if polling else ""
        return at.error(
            f"deadlock: {len(stuck) - polling} threads wait{polls} at lines {places}, {gone} have"
            " exited, first"
        )

    def count(self, counters: Counters) -> None:
        for pc, executed in enumerate(self.executed):
            if executed:
                at = self.machine.code[pc]
                counters.instructions[self.machine.classes[pc]] += executed
                counters.opcodes[".".join((at.opcode, *at.modifiers))] += executed
        counters.steps = self.steps
        counters.barriers = self.barriers.completed
        counters.cluster_barriers = self.barriers.cluster_completed
        counters.warp_barriers = self.warp_barriers


def _unreachable(*_: object) -> None:
    raise AssertionError("control flow is not built")


def _polling_branches(machine: Machine) -> list[int]:
    """Returns the branches back of loops that look at what other threads may change."""
    branches: list[int] = []
    looking: set[str | None] = set()
    for frame in machine.frames:  # callees first
        function, code = frame.function, frame.function.code
        looks = [
            call_parts(at)[0] in looking if at.opcode == "call" else access.observes(function, at)
            for at in code
        ]
        if any(looks):
            looking.add(function.name)
        for i, at in enumerate(code):
            if at.opcode == "bra":
                target = frame.target(at.operands[0], at) - frame.base_pc
                if any(looks[target : i + 1]):
                    branches.append(frame.base_pc + i)
    return branches


def _kind(at: Instruction) -> str:
    if is_warp_instruction(at):
        return "warp"
    kinds = {
        "bra": "branch", "brx": "table", "ret": "return", "exit": "exit", "trap": "trap",
        "call": "call", "bar": "barrier", "barrier": "barrier",
    }  # fmt: skip
    return kinds.get(at.opcode, "plain")

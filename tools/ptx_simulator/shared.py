"""Shared memory of every block: bounds, initialisation, and races between barriers."""

from __future__ import annotations

import numpy as np

from .memory import Region
from .syntax import Instruction

_NONE, _SEVERAL_WARPS, _SEVERAL_BLOCKS = -1, -2, -3


class SharedMemory:
    """offset = block * stride + address; the valid ranges of a block are its variables."""

    def __init__(
        self, blocks: int, ranges: list[tuple[int, int]], end: int, granule: int, warps: int
    ) -> None:
        self.stride = -(-max(end, 1) // 16) * 16
        # 0xA5 shows up in results if a check below is ever wrong.
        self.region = Region(np.full(blocks * self.stride, 0xA5, np.uint8))
        self.valid = np.zeros(self.stride + 16, bool)
        for low, high in ranges:
            self.valid[low:high] = True
        self.granule = granule  # no access is narrower
        self.initialised = np.zeros(blocks * self.stride // granule, bool)
        self.races = RaceChecker(blocks, self.stride, granule, warps)
        self.gone = np.zeros(blocks, bool)  # all threads of the block have exited
        self.read_bytes = self.written_bytes = self.atomics = 0

    def access(
        self,
        block: np.ndarray,
        address: np.ndarray,
        thread: np.ndarray,
        nbytes: int,
        kind: str,
        at: Instruction,
    ) -> np.ndarray:
        """Checks an access and returns the offsets in the region; kind is r, w, R, W or a."""
        outside = address + nbytes > self.stride
        first = np.where(outside, 0, address)
        bad = outside | ~self.valid[first] | ~self.valid[first + nbytes - 1]
        if bad.any():
            lane = int(np.flatnonzero(bad)[0])
            raise at.error(f"shared access out of bounds at offset {int(address[lane])}")
        if self.gone.any() and self.gone[block].any():
            raise at.error("access to the shared memory of a block that has exited")
        offset = block * self.stride + address
        # A vector may have been written in part, so its first and last granule are not enough.
        granules = nbytes // self.granule
        word = (offset[:, None] // self.granule + np.arange(granules)).reshape(-1)
        plain = kind.lower()
        if plain == "w":
            self.initialised[word] = True
            self.written_bytes += len(address) * nbytes
        else:
            known = self.initialised[word]
            if not known.all():
                lane = int(np.flatnonzero(~known)[0]) // granules
                raise at.error(
                    f"read of uninitialised shared memory at offset {int(address[lane])}"
                )
            if plain == "r":
                self.read_bytes += len(address) * nbytes
            else:
                self.atomics += len(address)
        self.races.access(block, word, thread, granules, kind if kind == plain else "a", at)
        return offset


class RaceChecker:
    """Remembers who touched each granule last, and which barriers order that before an access.

    Two accesses of different threads, at least one of them a plain write, must be separated by a
    barrier of the block, by a bar.warp.sync that names both, or across blocks by a barrier of the
    cluster. Orders that arise only through a third thread are not followed.
    """

    def __init__(self, blocks: int, stride: int, granule: int, warps: int) -> None:
        self.granule, self.stride = granule, stride
        self.warps_per_block = warps // blocks
        count = blocks * stride // granule
        # Each kind of access has the time of the last one, its warp (or several), its lanes as a
        # mask.
        self.history = {
            kind: (
                np.zeros(count, np.int64),
                np.full(count, _NONE, np.int32),
                np.zeros(count, np.uint32),
            )
            for kind in "rwa"
        }
        self.clock = 1
        self.block_barrier = np.ones(blocks, np.int64)
        self.cluster_barrier = np.ones(blocks, np.int64)
        self.warp_barrier = np.zeros((warps * 32, 32), np.int64)  # [thread, lane]: the last of both
        # Memory that another block has read or written since the last barrier of the cluster.
        self.remote = np.zeros(blocks, bool)

    def access(
        self,
        block: np.ndarray,
        word: np.ndarray,
        thread: np.ndarray,
        granules: int,
        kind: str,
        at: Instruction,
    ) -> None:
        """Checks and records an access to words, so many granules for each thread."""
        own_block = (thread // 32) // self.warps_per_block
        foreign = own_block != block
        if foreign.any():
            self.remote[block[foreign]] = True
        if granules > 1:
            thread, block, foreign = (np.repeat(v, granules) for v in (thread, block, foreign))
        if kind == "w" and len(word) > 1:
            ordered = np.sort(word)
            if (ordered[1:] == ordered[:-1]).any():
                raise at.error("race: two threads store to one shared location")
        limit = np.where(foreign, self.cluster_barrier[block], self.block_barrier[block])
        for other in {"r": "wa", "w": "rwa", "a": "rw"}[kind]:
            self._check(other, kind, word, thread, limit, at)
        self._record(kind, word, thread, block, foreign)

    def _check(
        self,
        other: str,
        kind: str,
        word: np.ndarray,
        thread: np.ndarray,
        limit: np.ndarray,
        at: Instruction,
    ) -> None:
        times, warps, masks = self.history[other]
        recent = times[word] >= limit
        # An access of another block is ordered by the cluster's barrier only.
        warp_of = warps[word]
        foreign = (warp_of >= 0) & (
            warp_of // self.warps_per_block != thread // 32 // self.warps_per_block
        )
        if foreign.any() or (warp_of == _SEVERAL_BLOCKS).any():
            foreign |= warp_of == _SEVERAL_BLOCKS
            blocks = thread // 32 // self.warps_per_block
            recent |= foreign & (times[word] >= self.cluster_barrier[blocks])
        recent &= warp_of != _NONE
        if not recent.any():
            return
        word, thread = word[recent], thread[recent]
        warp, lane = warps[word], (thread % 32).astype(np.uint32)
        same_warp = warp == thread // 32
        others = masks[word] & ~(np.uint32(1) << lane)
        bad = ~same_warp
        candidates = np.flatnonzero(same_warp & (others != 0))
        if len(candidates):
            unordered = self.warp_barrier[thread[candidates]] <= times[word[candidates], None]
            bits = (others[candidates, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
            bad[candidates] = (unordered & (bits != 0)).any(1)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            per_block = self.warps_per_block * 32
            who = (
                "several threads"
                if warp[first] < 0
                else f"warp {int(warp[first]) % self.warps_per_block}"
            )
            names = {"r": "read", "w": "write", "a": "atomic"}
            raise at.error(
                f"race: {names[kind]} by thread {int(thread[first]) % per_block} and {names[other]}"
                f" by {who} of shared offset {int(word[first]) * self.granule % self.stride}"
                " without a barrier between"
            )

    def _record(
        self,
        kind: str,
        word: np.ndarray,
        thread: np.ndarray,
        block: np.ndarray,
        foreign: np.ndarray,
    ) -> None:
        times, warps, masks = self.history[kind]
        warp = (thread // 32).astype(np.int32)
        known = warps[word]
        across = (
            foreign
            | (known == _SEVERAL_BLOCKS)
            | ((known >= 0) & (known // self.warps_per_block != block))
        )
        stale = times[word] < np.where(
            across, self.cluster_barrier[block], self.block_barrier[block]
        )
        if stale.any():
            fresh = word[stale]
            warps[fresh], masks[fresh] = _NONE, 0
        known = warps[word]
        # The last of several warps at one word stays, and the others mark the word as several.
        vacant = known == _NONE
        warps[word[vacant]] = warp[vacant]
        differ = (warps[word] != warp) | (~vacant & (known != warp))
        np.bitwise_or.at(masks, word, np.uint32(1) << (thread % 32).astype(np.uint32))
        if differ.any():
            clash, owner = word[differ], block[differ]
            mixed = (warp[differ] // self.warps_per_block != owner) | (
                known[differ] == _SEVERAL_BLOCKS
            )
            mixed |= (known[differ] >= 0) & (known[differ] // self.warps_per_block != owner)
            warps[clash] = _SEVERAL_WARPS
            warps[clash[mixed]] = _SEVERAL_BLOCKS
        times[word] = self.clock

    def end_block_barrier(self, blocks: np.ndarray, cluster: bool) -> None:
        self.block_barrier[blocks] = self.clock + 1
        if cluster:
            self.cluster_barrier[blocks] = self.clock + 1
            self.remote[blocks] = False

    def end_warp_barrier(self, thread: np.ndarray, mask: np.ndarray) -> None:
        bits = (mask[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
        self.warp_barrier[thread] = np.where(bits != 0, self.clock, self.warp_barrier[thread])

"""Blocks that work together: barriers of the grid, and polling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ptx_simulator import Module, PtxError, device_array, device_copy, launch

Compiled = Callable[[str], Module]
HEAD = """#include <cooperative_groups.h>
#define KERNEL extern "C" __global__ void
namespace cg = cooperative_groups;
"""

GRID = (
    HEAD
    + """
KERNEL sums(unsigned* sums, const unsigned* in, unsigned* out, int rounds) {
  auto grid = cg::this_grid();
  const unsigned i = grid.thread_rank();
  for (int r = 0; r < rounds; ++r) {
    atomicAdd(&sums[r], in[i] + r);
    grid.sync();
    out[i] += sums[r];
  }
}
// A wave through the blocks, each at its own pace; the barriers are far apart in the code.
KERNEL wave(unsigned* a, unsigned* b, int rounds) {
  auto grid = cg::this_grid();
  const unsigned i = grid.thread_rank(), n = grid.size(), before = (i + n - 1) % n;
  if (blockIdx.x == 1) { a[i] += 0; grid.sync(); } else grid.sync();
  for (int r = 0; r < rounds; ++r) {
    b[i] = a[before];
    unsigned x = i;
    for (unsigned k = 0; k < (blockIdx.x * 7 + r) % 5; ++k) x = x * 3 + b[i];
    auto token = grid.barrier_arrive();
    x += r;
    grid.barrier_wait(std::move(token));
    if (grid.block_rank() % 2) { a[i] = b[before] + (x & 0); grid.sync(); continue; }
    a[i] = b[before];
    grid.sync();
  }
}
KERNEL missed(unsigned* out) {
  if (blockIdx.x != 2) cg::this_grid().sync();
  out[0] = 1;
}
"""
)


def test_barriers_of_the_grid(compiled: Compiled) -> None:
    blocks, threads, rounds = 32, 512, 5
    n = blocks * threads
    values = device_copy(np.arange(n, dtype=np.uint32))
    out, sums = device_array(n, np.uint32), device_array(rounds, np.uint32)
    counters = launch(
        compiled(GRID).find("sums"), blocks, threads, [sums, values, out, rounds],
        {"sums": sums, "in": values, "out": out}, cooperative=True, max_steps=1000,
    )  # fmt: skip
    total = int(values.sum())
    assert sums.tolist() == [total + r * n for r in range(rounds)]
    assert (out == sums.sum()).all()
    assert [b.name for b in counters.buffers] == ["sums", "in", "out"]
    assert counters.buffer("sums").atomics == counters.global_atomics == rounds * n
    assert counters.buffer("sums").atomic_bytes == counters.global_atomic_bytes == rounds * n * 4
    assert counters.barriers == 2 * rounds * blocks


@pytest.mark.parametrize("grid", [7, (2, 3, 2)])
def test_blocks_of_different_paces_meet(compiled: Compiled, grid: int | tuple[int, ...]) -> None:
    n = int(np.prod(grid)) * 48
    a = device_copy(np.random.default_rng(0).integers(0, 2**32, n, dtype=np.uint32))
    b, expected = device_array(n, np.uint32), a.copy()
    launch(compiled(GRID).find("wave"), grid, (8, 6), [a, b, 9], cooperative=True, max_steps=10_000)
    np.testing.assert_array_equal(a, np.roll(expected, 18))


def test_the_grid_has_no_barrier_in_other_launches(compiled: Compiled) -> None:
    module, out = compiled(GRID), device_array(64, np.uint32)
    with pytest.raises(PtxError, match="trap"):
        launch(module.find("sums"), 2, 32, [out, out, out, 1])
    launch(module.find("sums"), 2, 32, [out, out, out, 0])


def test_a_block_that_misses_the_barrier_of_the_grid_is_reported(compiled: Compiled) -> None:
    out = device_array(1, np.uint32)
    with pytest.raises(PtxError, match=r"deadlock: 189 threads wait and 3 poll .* 64 have exited"):
        launch(compiled(GRID).find("missed"), 4, 64, [out], cooperative=True, max_steps=500)


POLLING = (
    HEAD
    + """
__device__ __noinline__ unsigned look(volatile unsigned* p) { return *p; }
// The threads that wait stand before those they wait for, in the code and in number.
KERNEL chain(volatile unsigned* flags, unsigned* out, int way) {
  const unsigned i = blockIdx.x, last = gridDim.x - 1, t = threadIdx.x;
  if (i != last) {
    if (way == 0 && t == 0) while (flags[i + 1] == 0) {}
    if (way == 1) while (atomicAdd((unsigned*)&flags[i + 1], 0) == 0) {}
    if (way == 2 && t == 1) {
      unsigned tries = 0, pause = 1;
      while (look(&flags[i + 1]) == 0) { ++tries; __nanosleep(pause); pause *= 2; }
      out[gridDim.x + i] = tries;
    }
    if (way == 3) {
      __shared__ unsigned seen;
      do {
        __syncthreads();
        if (t == 0) seen = flags[i + 1];
        __syncthreads();
      } while (seen == 0);
    }
    if (way == 4 && t == 5) while (flags[i + 1] == 0) out[gridDim.x + i] += 1;
  }
  __syncthreads();
  if (t == 0) {
    out[i] = i == last ? 1 : out[i + 1] + 1;
    __threadfence();
    flags[i] = 1;
  }
}
KERNEL lock(unsigned* held, volatile unsigned* total) {
  for (;;) {
    if (atomicCAS(held, 0, 1) == 0) {
      *total = *total + 1;
      __threadfence();
      atomicExch(held, 0);
      break;
    }
  }
}
KERNEL never(volatile unsigned* flag, unsigned* out) {
  if (threadIdx.x == 0) while (*flag == 0) {}
  __syncthreads();
  out[0] = 1;
}
"""
)


@pytest.mark.parametrize("way", range(5))
def test_polling_threads_let_others_go_first(compiled: Compiled, way: int) -> None:
    flags, out = device_array(9, np.uint32), device_array(18, np.uint32)
    launch(compiled(POLLING).find("chain"), 9, 64, [flags, out, way], max_steps=10_000)
    assert out[:9].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_a_lock(compiled: Compiled) -> None:
    held, total = device_array(1, np.uint32), device_array(1, np.uint32)
    launch(compiled(POLLING).find("lock"), 3, 40, [held, total], max_steps=20_000)
    assert total[0] == 120


def test_polling_for_what_nobody_stores_is_reported(compiled: Compiled) -> None:
    flag, out = device_array(1, np.uint32), device_array(1, np.uint32)
    with pytest.raises(PtxError, match="deadlock: 126 threads wait and 2 poll memory that nobody"):
        launch(compiled(POLLING).find("never"), 2, 64, [flag, out], max_steps=500)

"""Blocks that work together: barriers of the grid, polling, and shared memory of a cluster."""

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
KERNEL wave(unsigned* a, unsigned* b, unsigned* pace, int rounds) {
  auto grid = cg::this_grid();
  const unsigned i = grid.thread_rank(), n = grid.size(), before = (i + n - 1) % n;
  if (blockIdx.x == 1) { pace[i] = 1; grid.sync(); } else grid.sync();
  for (int r = 0; r < rounds; ++r) {
    b[i] = a[before];
    for (unsigned k = 0; k < (blockIdx.x * 7 + r) % 5; ++k) pace[i] = pace[i] * 3 + k;
    auto token = grid.barrier_arrive();
    pace[i] += r;
    grid.barrier_wait(std::move(token));
    if (grid.block_rank() % 2) { pace[i] ^= 5; a[i] = b[before]; grid.sync(); continue; }
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
    expected = np.roll(a, 18)
    b, pace = device_array(n, np.uint32), device_array(n, np.uint32)
    kernel = compiled(GRID).find("wave")
    launch(kernel, grid, (8, 6), [a, b, pace, 9], cooperative=True, max_steps=10_000)
    np.testing.assert_array_equal(a, expected)


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


CLUSTERS = (
    HEAD
    + """
KERNEL __cluster_dims__(4, 1, 1) histogram(const unsigned* in, unsigned* out, int fault) {
  __shared__ unsigned bins[16];
  __shared__ unsigned long long total;
  auto cluster = cg::this_cluster();
  const unsigned t = threadIdx.x, rank = cluster.block_rank();
  if (t < 16) bins[t] = 0;
  if (t == 0) total = 0;
  if (fault != 1) cluster.sync();
  unsigned* leader = cluster.map_shared_rank(bins, 1);
  const unsigned v = in[blockIdx.x * blockDim.x + t];
  if (fault == 2) leader[v & 15] += 1; else atomicAdd(&leader[v & 15], 1u);
  atomicAdd(cluster.map_shared_rank(&total, 1), (unsigned long long)v << 8);
  if (fault == 3) __syncthreads(); else cluster.sync();
  if (t < 16)
    out[blockIdx.x * 17 + t] = leader[t] + 1000 * cluster.query_shared_rank(leader);
  if (t == 16)
    out[blockIdx.x * 17 + 16] = unsigned(*cluster.map_shared_rank(&total, 1) >> 8);
  if (fault == 4) { __syncthreads(); if (rank == 1 && t < 16) bins[t] = 5; }
  if (fault == 5 && rank == 3) return;
  cluster.sync();
  if (fault == 5) { out[0] = cluster.map_shared_rank(bins, 3)[0]; cluster.sync(); }
}
// The barrier of one block orders its atomics before nothing that the other one does.
KERNEL __cluster_dims__(2, 1, 1) unordered(unsigned* out) {
  __shared__ unsigned count;
  auto cluster = cg::this_cluster();
  if (threadIdx.x == 0) count = 0;
  cluster.sync();
  if (cluster.block_rank() == 0) atomicAdd(&count, 1u);
  __syncthreads();
  volatile unsigned* first = cluster.map_shared_rank(&count, 0);
  if (cluster.block_rank() == 1 && threadIdx.x == 0)
    out[0] = atomicAdd((unsigned*)first, 1u) + *first;
  cluster.sync();
}
// A baton goes round in the cluster, by exchanges through both kinds of address.
KERNEL __cluster_dims__(4, 1, 1) baton(unsigned* out) {
  __shared__ unsigned slot[2];
  auto cluster = cg::this_cluster();
  const unsigned rank = cluster.block_rank(), t = threadIdx.x;
  if (t < 2) slot[t] = 10 + rank;
  cluster.sync();
  const unsigned next = (rank + 1) % cluster.num_blocks();
  unsigned old = 0;
  if (t == 0) old = atomicExch(cluster.map_shared_rank(&slot[0], next), 20 + rank);
  if (t == 1) {
    const unsigned address =
        (unsigned)__cvta_generic_to_shared(cluster.map_shared_rank(&slot[1], next));
    asm volatile("atom.shared::cluster.exch.b32 %0, [%1], %2;"
                 : "=r"(old) : "r"(address), "r"(30 + rank) : "memory");
    asm volatile("red.relaxed.cluster.shared::cluster.add.u32 [%0], %1;"
                 :: "r"(address), "r"(100u) : "memory");
    asm volatile("st.relaxed.cluster.shared::cluster.u32 [%0], %1;"
                 :: "r"(address - 4), "r"(0u) : "memory");
    unsigned owner;
    asm("getctarank.shared::cluster.u32 %0, %1;" : "=r"(owner) : "r"(address));
    old += 1000 * owner;
  }
  auto token = cluster.barrier_arrive();
  cluster.barrier_wait(std::move(token));
  if (t < 2) out[(blockIdx.y * gridDim.x + blockIdx.x) * 4 + t] = old;
  if (t < 2) out[(blockIdx.y * gridDim.x + blockIdx.x) * 4 + 2 + t] = slot[t];
}
KERNEL ranks(uint4* out) {
  auto cluster = cg::this_cluster();
  const dim3 index = cluster.block_index(), extent = cluster.dim_blocks();
  const unsigned i = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  out[i] = make_uint4(index.x + 10 * index.y + 100 * index.z + 1000 * cluster.block_rank(),
                      extent.x + 10 * extent.y + 100 * extent.z + 1000 * cluster.num_blocks(),
                      cg::this_grid().cluster_rank(), cg::this_grid().num_clusters());
}
"""
)


def histogram(module: Module, fault: int) -> tuple[np.ndarray, np.ndarray]:
    values = device_copy(np.random.default_rng(0).integers(0, 2**20, 8 * 64, dtype=np.uint32))
    out = device_array((8, 17), np.uint32)
    counters = launch(module.find("histogram"), 8, 64, [values, out, fault])
    assert counters.shared_atomics == 2 * 8 * 64
    return values, out


def test_a_histogram_in_the_shared_memory_of_one_block(compiled: Compiled) -> None:
    values, out = histogram(compiled(CLUSTERS), 0)
    for block, row in enumerate(out):
        own = values.reshape(2, 256)[block // 4]
        np.testing.assert_array_equal(row[:16] - 1000, np.bincount(own & 15, minlength=16))
        assert row[16] == own.sum()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (1, "race: atomic .* and write"),
        (2, "race: (read|write|two)"),
        (3, "race: read .* and atomic"),
        (4, "race: write .* and read"),
        (5, "a block that has exited"),
    ],
)
def test_faults_across_blocks_are_reported(compiled: Compiled, fault: int, message: str) -> None:
    with pytest.raises(PtxError, match=message):
        histogram(compiled(CLUSTERS), fault)


def test_a_barrier_of_one_block_does_not_order_the_cluster(compiled: Compiled) -> None:
    with pytest.raises(PtxError, match=r"race: read .* and atomic"):
        launch(compiled(CLUSTERS).find("unordered"), 2, 32, [device_array(1, np.uint32)])


def test_exchanges_between_blocks(compiled: Compiled) -> None:
    out = device_array((2, 8, 4), np.uint32)
    launch(compiled(CLUSTERS).find("baton"), (8, 2), 32, [out])
    rank = np.arange(4)
    following, previous = (rank + 1) % 4, (rank - 1) % 4
    # The relaxed store to the first slot comes after the exchange there.
    expected = [10 + following, 10 + following + 1000 * following, 0 * rank, 130 + previous]
    np.testing.assert_array_equal(out.reshape(4, 4, 4), np.tile(np.stack(expected, 1), (4, 1, 1)))


def test_places_in_clusters_and_grids(compiled: Compiled) -> None:
    out = device_array((2, 3, 6, 4), np.uint32)
    launch(compiled(CLUSTERS).find("ranks"), (6, 3, 2), 1, [out], cluster=3)
    z, y, x = np.indices((2, 3, 6))
    expected = [1001 * (x % 3), 0 * x + 3113, (z * 3 + y) * 2 + x // 3, 0 * x + 12]
    np.testing.assert_array_equal(out, np.stack(expected, -1))

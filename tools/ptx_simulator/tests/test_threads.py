"""Memory, warps, atomics, calls, clusters, arguments, and the counters."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

import numpy as np
import pytest
from ptx_simulator import Module, PtxError, device_array, device_copy, launch

Compiled = Callable[[str], Module]
HEAD = '#include <cstdint>\n#define KERNEL extern "C" __global__ void\n'

MEMORY = (
    HEAD
    + """
struct Settings { int n; double scale; unsigned char table[5]; };
__constant__ int powers[4] = {1, 10, 100, 1000};
__device__ unsigned launches;
extern __shared__ float dynamic[];
__device__ __noinline__ float horner(float x, int n) {
  float r = 1; for (int i = 0; i < n; ++i) r = r * x + 1; return r; }
KERNEL memory(Settings s, const float4* in, float4* out, double* rest) {
  __shared__ double mixed[64];
  const int t = threadIdx.x;
  const float4 v = in[t];
  dynamic[t] = v.x;
  mixed[t] = s.scale * t;
  __syncthreads();
  out[t] = make_float4(v.w, dynamic[63 - t], v.y, v.z);
  rest[t] = mixed[63 - t] + s.table[t % 5] + powers[t & 3] + horner(0.5f, t & 3) + s.n;
  if (t == 0) atomicAdd(&launches, 1u);
  double local[6];
  for (int i = 0; i < 6; ++i) local[i] = t * i;
  rest[64 + t] = local[(t * 7) % 6] + launches * 0 + horner(2.0f, t & 1) - 1;
}"""
)


def test_memory_spaces_and_counters(compiled: Compiled) -> None:
    module = compiled(MEMORY)
    table = bytes([3, 1, 4, 1, 5])
    settings = struct.pack("<i4xd5s3x", 7, 1.5, table)
    rows = device_copy(np.arange(256, dtype=np.float32).reshape(64, 4))
    out, rest = device_array((64, 4), np.float32), device_array(128, np.float64)
    counters = launch(
        module.find("memory"), 1, 64, [settings, rows, out, rest],
        {"rows": rows, "out": out, "rest": rest}, dynamic_shared=256,
    )  # fmt: skip
    x, y, z, w = rows.T
    np.testing.assert_array_equal(out, np.stack([w, x[::-1], y, z], 1))
    t = np.arange(64)
    horner = np.array([1, 1.5, 1.75, 1.875])[t & 3]
    powers = np.array([1, 10, 100, 1000])[t & 3]
    expected = 1.5 * (63 - t) + np.frombuffer(table, np.uint8)[t % 5] + powers + horner + 7
    np.testing.assert_array_equal(rest[:64], expected)
    np.testing.assert_array_equal(rest[64:], t * (t * 7 % 6) + 2 * (t & 1))
    assert module.variables["launches"][0] == 1
    assert counters.buffer("rows").load_widths == {16: 64}
    assert counters.buffer("rows").read_bytes == counters.buffer("out").written_bytes == 1024
    assert counters.buffer("out").store_widths == {16: 64}
    assert counters.buffer("rows").written_bytes == 0
    assert counters.global_store_widths == {16: 64, 8: 128}
    assert counters.shared_written_bytes == 64 * 4 + 64 * 8
    assert counters.shared_bytes_per_block == 256 + 512
    assert counters.barriers == 1
    assert counters.opcodes["bar.sync"] == 64
    assert counters.instructions["float64"] > 0


SHUFFLES = (
    HEAD
    + """
KERNEL shuffles(const int* in, int* out) {
  const int t = threadIdx.x, v = in[t]; int k = 0;
#define OUT(e) out[64 * k++ + t] = (e)
  OUT(__shfl_xor_sync(~0u, v, 5)); OUT(__shfl_up_sync(~0u, v, 3)); OUT(__shfl_down_sync(~0u, v, 9));
  OUT(__shfl_sync(~0u, v, v & 31)); OUT(__shfl_up_sync(~0u, v, 2, 8));
  OUT(__shfl_down_sync(~0u, v, 2, 8)); OUT(__shfl_sync(~0u, v, 3, 16));
  OUT(__ballot_sync(~0u, v & 1)); OUT(__any_sync(~0u, v == 77)); OUT(__all_sync(~0u, v > 0));
  OUT(__match_any_sync(~0u, v & 3)); OUT(__reduce_add_sync(~0u, (unsigned)v));
  OUT(__reduce_max_sync(~0u, v)); OUT(__reduce_xor_sync(~0u, (unsigned)v));
  int all; OUT(__match_all_sync(~0u, v >> 20, &all)); OUT(all);
  int odd = 0;
  if (t & 1) odd = __ballot_sync(0xaaaaaaaau, v & 2) + __popc(__activemask())
                  + 7 * __all_sync(0xaaaaaaaau, v > 0);
  else odd = __shfl_xor_sync(0x55555555u, v, 2);
  OUT(odd);
  OUT(__syncthreads_count(v & 1)); OUT(__syncthreads_or(v == 77)); OUT(__syncthreads_and(v > 0));
}"""
)


def test_warps(compiled: Compiled) -> None:
    v = np.random.default_rng(0).integers(1, 1000, 64).astype(np.int32)
    v[40] = 77
    values, out = device_copy(v), device_array((20, 64), np.int32)
    counters = launch(compiled(SHUFFLES).find("shuffles"), 1, 64, [values, out])
    t = np.arange(64)
    lane, warp = t % 32, t // 32 * 32
    by_warp = v.reshape(2, 32)

    def spread(per_warp: np.ndarray) -> np.ndarray:
        return np.repeat(per_warp, 32)

    def ballot(chosen: np.ndarray) -> np.ndarray:
        weights = 1 << np.arange(32, dtype=np.int64)
        return spread((chosen.reshape(2, 32) * weights).sum(1)).astype(np.uint32).view(np.int32)

    match = np.stack([ballot((v & 3) == m) for m in range(4)])[v & 3, t]
    odd = ballot((v & 2 != 0) & (t & 1 == 1)) + 23
    expected = [
        v[t ^ 5], np.where(lane >= 3, v[t - 3], v), np.where(lane < 23, v[(t + 9) % 64], v),
        v[warp + (v & 31)], np.where(lane % 8 >= 2, v[t - 2], v),
        np.where(lane % 8 < 6, v[(t + 2) % 64], v), v[t // 16 * 16 + 3],
        ballot(v & 1), spread((by_warp == 77).any(1)), np.ones(64), match,
        spread(by_warp.sum(1)), spread(by_warp.max(1)), spread(np.bitwise_xor.reduce(by_warp, 1)),
        np.full(64, -1), np.ones(64), np.where(t & 1, odd, v[t ^ 2]),
        np.full(64, (v & 1).sum()), np.ones(64), np.ones(64),
    ]  # fmt: skip
    for i, (row, want) in enumerate(zip(out, expected, strict=True)):
        np.testing.assert_array_equal(row, want, err_msg=f"output {i}")
    assert counters.barriers == 3


ATOMICS = (
    HEAD
    + """
KERNEL atomics(const unsigned* in, unsigned* out, unsigned long long* wide, float* sum,
               unsigned* place) {
  __shared__ unsigned bins[16];
  const int t = threadIdx.x;
  if (t < 16) bins[t] = 0;
  __syncthreads();
  const unsigned v = in[t];
  place[t] = atomicAdd(&bins[v & 15], 1u);
  __syncthreads();
  if (t < 16) out[t] = bins[t];
  atomicMax(&out[16], v); atomicMin(&out[17], v); atomicOr(&out[18], v); atomicXor(&out[19], v);
  atomicMax((int*)&out[20], (int)v); atomicAnd(&out[21], v); atomicInc(&out[22], 99u);
  atomicCAS(&out[23], 0u, v + 1); atomicExch(&out[24], 5u);
  atomicAdd(wide, (unsigned long long)v << 20); atomicMax(wide + 1, (unsigned long long)v << 20);
  atomicAdd(sum, 1.0f);
}
KERNEL strong(const unsigned* in, unsigned* out) {
  __shared__ unsigned flags[64];
  const int t = threadIdx.x;
  const unsigned own = (unsigned)__cvta_generic_to_shared(&flags[t]);
  unsigned a, b;
  asm volatile("st.release.cta.shared.u32 [%0], %1;" :: "r"(own), "r"(t) : "memory");
  asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(a) : "r"(own) : "memory");
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(b) : "l"(in + t) : "memory");
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" :: "l"(out + t), "r"(a + b) : "memory");
}"""
)


def test_atomics(compiled: Compiled) -> None:
    v = device_copy(np.random.default_rng(0).integers(0, 2**32, 128, dtype=np.uint32))
    out, wide = device_array(25, np.uint32), device_array(2, np.uint64)
    out[17] = out[21] = 0xFFFFFFFF
    total, place = device_array(1, np.float32), device_array(128, np.uint32)
    counters = launch(
        compiled(ATOMICS).find("atomics"), 1, 128, [v, out, wide, total, place],
        {"out": out, "wide": wide, "place": place},
    )  # fmt: skip
    np.testing.assert_array_equal(out[:16], np.bincount(v & 15, minlength=16))
    for i, (value, bin_of) in enumerate(zip(place, v & 15, strict=True)):
        assert value == ((v & 15)[:i] == bin_of).sum()
    expected = [
        v.max(), v.min(), np.bitwise_or.reduce(v), np.bitwise_xor.reduce(v),
        max(int(v.view(np.int32).max()), 0), np.bitwise_and.reduce(v), 28, int(v[0]) + 1, 5,
    ]  # fmt: skip
    assert out[16:].tolist() == [int(e) for e in expected]
    assert wide.tolist() == [int(v.sum(dtype=np.uint64)) << 20, int(v.max()) << 20]
    assert total[0] == 128
    assert counters.shared_atomics == 128
    assert counters.buffer("out").atomics == 9 * 128
    assert counters.buffer("out").atomic_bytes == 9 * 128 * 4
    assert counters.buffer("wide").atomic_bytes == 2 * 128 * 8
    assert counters.buffer("place").atomic_bytes == 0
    assert (counters.global_atomics, counters.global_atomic_bytes) == (12 * 128, 14 * 128 * 4)


def test_strong_loads_and_stores_are_no_atomics(compiled: Compiled) -> None:
    values, out = device_copy(np.arange(64, dtype=np.uint32)), device_array(64, np.uint32)
    values.flags.writeable = False
    counters = launch(
        compiled(ATOMICS).find("strong"), 1, 64, [values, out], {"in": values, "out": out}
    )
    np.testing.assert_array_equal(out, 2 * values)
    assert counters.buffer("in").load_widths == counters.buffer("out").store_widths == {4: 64}
    assert counters.shared_read_bytes == counters.shared_written_bytes == 256
    assert counters.global_atomics == counters.shared_atomics == 0


MIXED = (
    HEAD
    + """
KERNEL mixed(const int* in, int* o) {
  __shared__ int s[50]; int own[4]; const int t = threadIdx.x;
  s[t] = in[t]; for (int i = 0; i < 4; ++i) own[i] = t * i;
  __syncthreads();
  const int* p = t % 3 == 0 ? in + t : t % 3 == 1 ? s + t : own + (t & 3);
  o[t] = *p; __syncwarp(); o[t] += 100 * __shfl_up_sync(~0u, t, 1);
}
KERNEL wide(const long long* a, const long long* b, long long* o) {
  const int t = threadIdx.x;
  const __int128 p = (__int128)a[t] * b[t] + a[t] - ((__int128)b[t] << 3);
  o[2 * t] = (long long)p; o[2 * t + 1] = (long long)(p >> 64);
}"""
)


def test_generic_addresses_and_partial_warps(compiled: Compiled) -> None:
    values, out = device_copy(np.arange(50, dtype=np.int32) + 7), device_array(50, np.int32)
    launch(compiled(MIXED).find("mixed"), 1, 50, [values, out])
    t = np.arange(50)
    below = np.where(t % 32 == 0, t, t - 1)
    np.testing.assert_array_equal(out, np.where(t % 3 < 2, values, t * (t & 3)) + 100 * below)


def test_128_bit_integers_use_the_carry(compiled: Compiled) -> None:
    rng = np.random.default_rng(0)
    a, b = (device_copy(rng.integers(-(2**63), 2**63 - 1, 64)) for _ in range(2))
    out = device_array((64, 2), np.int64)
    launch(compiled(MIXED).find("wide"), 1, 64, [a, b, out])
    for x, y, (low, high) in zip(a.tolist(), b.tolist(), out.tolist(), strict=True):
        assert (high << 64) + low % 2**64 == x * y + x - (y << 3)


CONTROL = (
    HEAD
    + """
KERNEL collatz(const int* in, int* out, int n) {
  const int i = (blockIdx.y * gridDim.x + blockIdx.x) * blockDim.x * blockDim.y
              + threadIdx.y * blockDim.x + threadIdx.x;
  if (i >= n) return;
  long long v = in[i]; int steps = 0;
  while (v != 1) { v = v & 1 ? 3 * v + 1 : v / 2; ++steps; }
  switch (in[i] % 7) { case 0: steps *= 3; break; case 1: steps += 100; break; case 2: steps ^= 5;
    break; case 3: steps -= 7; break; case 4: steps <<= 2; break; case 5: steps = -steps; break; }
  out[i] = steps;
}
KERNEL __cluster_dims__(4, 1, 1) swap(const int* in, int* out, int last) {
  __shared__ int mine[32];
  unsigned rank, remote; int value;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  mine[threadIdx.x] = in[blockIdx.x * 32 + threadIdx.x];
  asm volatile("barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;" ::: "memory");
  const unsigned address = (unsigned)__cvta_generic_to_shared(&mine[31 - threadIdx.x]);
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank ^ 3));
  asm volatile("ld.shared::cluster.s32 %0, [%1];" : "=r"(value) : "r"(remote) : "memory");
  out[blockIdx.x * 32 + threadIdx.x] = value;
  if (last == 2) { __syncthreads(); mine[threadIdx.x] = 0; }
  if (last) asm volatile("barrier.cluster.arrive; barrier.cluster.wait;" ::: "memory");
}"""
)


def test_divergent_control_flow_and_grids(compiled: Compiled) -> None:
    n = 150
    values = device_copy(np.arange(1, n + 1, dtype=np.int32))
    out = device_array(n, np.int32)
    launch(compiled(CONTROL).find("collatz"), (2, 2), (10, 4), [values, out, n])

    def reference(v: int) -> int:
        steps, x = 0, v
        while x != 1:
            x, steps = (3 * x + 1 if x & 1 else x // 2), steps + 1
        return [steps * 3, steps + 100, steps ^ 5, steps - 7, steps << 2, -steps, steps][v % 7]

    assert out.tolist() == [reference(int(v)) for v in values]


def test_clusters(compiled: Compiled) -> None:
    kernel = compiled(CONTROL).find("swap")
    values, out = device_copy(np.arange(256, dtype=np.int32)), device_array(256, np.int32)
    counters = launch(kernel, 8, 32, [values, out, 1])
    by_block = values.reshape(2, 4, 32)
    np.testing.assert_array_equal(out.reshape(2, 4, 32), by_block[:, ::-1, ::-1])
    assert counters.cluster_barriers == 4
    with pytest.raises(PtxError, match="may exit while another"):
        launch(kernel, 8, 32, [values, out, 0])
    with pytest.raises(PtxError, match="race: write"):
        launch(kernel, 8, 32, [values, out, 2])


def test_arguments(compiled: Compiled) -> None:
    class Settings(ctypes.Structure):
        _fields_ = (("n", ctypes.c_int), ("scale", ctypes.c_double), ("table", ctypes.c_ubyte * 5))

    module = compiled(MEMORY)
    rows, rest = device_array((64, 4), np.float32), device_array(128, np.float64)
    arguments = [Settings(5, 2.0), rows, rows, rest]
    launch(module.find("memory"), 1, 64, arguments, dynamic_shared=256)
    assert rest[0] == 126 + 1 + 1 + 5
    with pytest.raises(ValueError, match="takes 4 arguments, not 1"):
        launch(module.find("memory"), 1, 64, [1])
    with pytest.raises(ValueError, match="24 bytes"):
        launch(module.find("memory"), 1, 64, [b"1234", rows, rows, rest])
    with pytest.raises(PtxError, match="0 kernels fit"):
        module.find("nothing")


TEMPLATE = """
template <class T, int n> __global__ void plain_rows(T* out) { out[threadIdx.x] = T(n); }
template __global__ void plain_rows<float, 3>(float*);
template __global__ void plain_rows<double, 4>(double*);
"""


def test_kernels_are_found_by_demangled_name(compiled: Compiled) -> None:
    module, out = compiled(TEMPLATE), device_array(32, np.float64)
    launch(module.find("plain_rows", "<double"), 1, 32, [out])
    assert (out == 4).all()
    with pytest.raises(PtxError, match="2 kernels fit"):
        module.find("plain_rows")

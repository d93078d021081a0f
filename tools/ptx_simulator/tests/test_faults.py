"""Every fault that the simulator must see, and correct kernels that it must not accuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ptx_simulator import Module, PtxError, device_array, launch, load

Compiled = Callable[[str], Module]
HEAD = '#include <cstdint>\n#define KERNEL extern "C" __global__ void\n'

FAULTS = (
    HEAD
    + """
#include <cassert>
KERNEL race(int* o) { __shared__ int s[64]; s[threadIdx.x] = o[threadIdx.x];
  o[threadIdx.x] = s[63 - threadIdx.x]; }
KERNEL race_after(int* o) { __shared__ int s[64]; s[threadIdx.x] = 1; __syncthreads();
  o[threadIdx.x] = s[63 - threadIdx.x]; s[threadIdx.x] = 2; o[threadIdx.x] += s[threadIdx.x]; }
KERNEL race_store(int* o) { __shared__ int s[64]; s[threadIdx.x / 2] = o[threadIdx.x];
  __syncthreads(); o[threadIdx.x] = s[threadIdx.x / 2]; }
KERNEL race_atomic(int* o) { __shared__ int s[2]; if (threadIdx.x == 0) s[0] = 0; __syncthreads();
  atomicAdd(&s[0], 1); o[threadIdx.x] = s[0]; }
KERNEL race_warp(int* o) { __shared__ volatile int s[64]; s[threadIdx.x] = 1;
  o[threadIdx.x] = s[threadIdx.x ^ 1]; }
KERNEL race_readers(int* o) { __shared__ int s[1]; const int t = threadIdx.x;
  if (t == 0) s[0] = 1; __syncthreads(); o[t] = s[0]; __syncwarp(); if (t == 63) s[0] = 2; }
KERNEL clean_reuse(int* o) { __shared__ int s[64]; const int t = threadIdx.x; s[t] = t;
  __syncthreads(); o[t] = s[63 - t]; __syncthreads(); if (t < 32) { o[t] += s[t ^ 1]; __syncwarp();
  s[t] = 5; } }
KERNEL stuck_one(int* o) { if (threadIdx.x < 63) __syncthreads(); o[0] = 1; }
KERNEL clean_warp(int* o) { __shared__ int s[64]; const int t = threadIdx.x;
  for (int i = 0; i < 3; ++i) {
    s[t] = i + t; __syncwarp(); o[t] += s[t ^ 1] + s[t & 32]; __syncwarp(); } }
KERNEL clean_bytes(char* o) { __shared__ char s[64]; s[threadIdx.x] = o[threadIdx.x];
  __syncthreads(); o[threadIdx.x] = s[63 - threadIdx.x]; }
KERNEL beyond(int* o) { o[threadIdx.x + 1] = 1; }
KERNEL before(int* o) { o[(int)threadIdx.x - 1] = 1; }
KERNEL beyond_shared(int* o) { __shared__ int s[64]; s[threadIdx.x + 1] = 1; __syncthreads();
  o[threadIdx.x] = s[o[threadIdx.x]]; }
KERNEL misaligned(char* o) { *(int4*)(o + 8) = make_int4(1, 2, 3, 4); }
KERNEL misaligned_shared(int* o) { __shared__ char s[256]; *(volatile short*)(s + o[0] + 1) = 3; }
KERNEL unset(int* o) { __shared__ int s[64]; if (threadIdx.x < 63) s[threadIdx.x] = 1;
  __syncthreads(); o[threadIdx.x] = s[63 - threadIdx.x]; }
KERNEL stuck(int* o) { if (threadIdx.x < 40) __syncthreads(); o[0] = 1; }
KERNEL split(int* o) { if (threadIdx.x & 1) __syncthreads(); else { o[1] = 2; __syncthreads(); } }
KERNEL wrong_mask(int* o) { if (threadIdx.x & 1) o[threadIdx.x] = __shfl_xor_sync(~0u, o[0], 1); }
KERNEL endless(volatile int* o) { while (o[0] == 0) o[1] = o[1] + 1; }
KERNEL asserts(int* o) { assert(o[threadIdx.x] < 5); }
KERNEL unknown(float* o) { o[0] = __expf(o[0]); }
KERNEL constant(const int* in, int* o) { ((int*)in)[threadIdx.x] = o[0]; }
"""
)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("race", "race: read"),
        ("race_after", "race: write"),
        ("race_store", "race: two threads store"),
        ("race_atomic", "race: read"),
        ("race_warp", "race: read"),
        ("race_readers", "race: write"),
        ("stuck_one", "deadlock|different barrier"),
        ("beyond", "out of bounds: 4 bytes past the end of buffer o "),
        ("before", "global access"),
        ("beyond_shared", "shared access out of bounds at offset"),
        ("misaligned", "misaligned access of 16 bytes"),
        ("misaligned_shared", "misaligned access of 2 bytes"),
        ("unset", "uninitialised shared memory"),
        ("stuck", "deadlock"),
        ("split", "different barrier"),
        ("wrong_mask", "lanes that have exited|deadlock"),
        ("endless", "still running"),
        ("asserts", "assertion failed in block 0, thread 9"),
        ("unknown", r"line \d+: unsupported instruction: ex2"),
    ],
)
def test_faults_are_reported(compiled: Compiled, kernel: str, message: str) -> None:
    out = device_array(64, np.int32)
    if kernel == "asserts":
        out[9] = 7
    with pytest.raises(PtxError, match=message) as caught:
        launch(compiled(FAULTS).kernels[kernel], 1, 64, [out], {"o": out}, max_steps=5000)
    assert str(caught.value).startswith("line ")


@pytest.mark.parametrize("kernel", ["clean_warp", "clean_bytes", "clean_reuse"])
def test_correct_kernels_are_not_accused(compiled: Compiled, kernel: str) -> None:
    launch(compiled(FAULTS).kernels[kernel], 2, 64, [device_array(64, np.int32)])


def test_read_only_buffers(compiled: Compiled) -> None:
    given, out = device_array(64, np.int32), device_array(64, np.int32)
    given.flags.writeable = False
    with pytest.raises(PtxError, match="read-only buffer in"):
        launch(compiled(FAULTS).kernels["constant"], 1, 64, [given, out], {"in": given, "o": out})


def test_text_that_is_not_understood_names_its_line() -> None:
    text = ".version 9.0\n.visible .entry k()\n{\n\twmma.load.a [%r1];\n\tret;\n}\n"
    with pytest.raises(PtxError, match="line 4"):
        launch(load(text).kernels["k"], 1, 32, [])

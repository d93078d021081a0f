"""The library's own noise, compiled for the device."""

from __future__ import annotations

import time
from collections.abc import Callable

import native
import numpy as np
from ptx_simulator import Module, device_array, launch

Compiled = Callable[[str], Module]

NORMALS = """
#include "core/normal.h"
using namespace effebm::core;
extern "C" __global__ void normals(float* out, int dim, unsigned long long seed,
                                   unsigned long long offset, unsigned first) {
  const Stream stream = make_stream(seed, offset, Purpose::noise);
  float* row = out + (long long)blockIdx.x * dim;
  for (int quad = threadIdx.x; quad * 4 < dim; quad += blockDim.x) {
    float n[4];
    normal4(stream, first + blockIdx.x, quad, n);
    if (quad * 4 + 4 <= dim) {
      reinterpret_cast<float4*>(row)[quad] = make_float4(n[0], n[1], n[2], n[3]);
    } else for (int i = quad * 4; i < dim; ++i) row[i] = n[i % 4];
  }
}
"""


def test_noise_equals_the_library(compiled: Compiled) -> None:
    seed, offset, first = -12345 % 2**64, (1 << 40) + 17, 2**31 - 3
    kernel = compiled(NORMALS).find("normals")
    for rows, dim in ((4, 1024), (3, 36), (1, 6)):
        out = device_array((rows, dim), np.float32)
        begin = time.perf_counter()
        counters = launch(kernel, rows, 256, [out, dim, seed, offset, first])
        assert time.perf_counter() - begin < 10
        expected = native.normals(rows, dim, -12345, offset, first)
        np.testing.assert_array_equal(out.view(np.uint32), expected.view(np.uint32))
        if dim == 1024:
            assert counters.global_store_widths == {16: rows * 256}
            assert counters.global_written_bytes == out.nbytes

"""Small kernels through nvcc and cuobjdump, where they are installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sass import find, find_cuobjdump, find_nvcc, kernels_of, shortest_path
from sass.toolkit import REPOSITORY, project_flags

SOURCE = """
template <int N>
__global__ void __launch_bounds__(256) add(float4* x, const float4* g, long n) {
  for (long i = blockIdx.x * 256L + threadIdx.x, j = 0; j < N && i < n; ++j, i += 256) {
    float4 v = x[i], w = g[i];
    x[i] = make_float4(v.x + w.x, v.y + w.y, v.z + w.z, v.w + w.w);
  }
}
template __global__ void add<1>(float4*, const float4*, long);

__global__ void __launch_bounds__(128) root(float* x) {
  x[threadIdx.x] = __fsqrt_rn(x[threadIdx.x]);
}

__global__ void __launch_bounds__(128) divide(float* x, float y) { x[threadIdx.x] /= y; }

__global__ void repeat(float2* x, int n) {
  float2 sum = {0, 0};
#pragma unroll 1
  for (int i = threadIdx.x; i < n; i += 32) sum.x += x[i].x, sum.y -= x[i].y;
  x[threadIdx.x] = sum;
}

__global__ void indexed(int* x, int at) {
  int numbers[64] = {};
  for (int i = 0; i < 64; ++i) numbers[x[i] & 63] += i;
  __shared__ int shared[32];
  shared[threadIdx.x] = numbers[at & 63];
  __syncthreads();
  x[threadIdx.x] = shared[31 - threadIdx.x];
}
"""

pytestmark = [
    pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not installed"),
    pytest.mark.skipif(find_cuobjdump() is None, reason="cuobjdump or nvdisasm is not installed"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sass") / "kernels.cu"
    path.write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def kernels(source: Path) -> list:
    return kernels_of(source)


def test_resources_of_compiled_kernels(kernels: list) -> None:
    assert len(kernels) == 5
    add, indexed = find(kernels, "add<1>"), find(kernels, "indexed")
    assert (add.block, find(kernels, "repeat").block) == (256, 1024)
    assert add.resources.registers <= 32
    assert add.resources.threads_per_sm(add.block) == 2048
    assert (add.resources.stack, add.resources.spill_stores, add.local_memory) == (0, 0, [])
    assert (indexed.resources.stack, indexed.resources.shared) == (256, 128)
    assert {at.access for at in indexed.local_memory} >= {("LDL", 4)}


def test_the_path_of_a_flat_kernel(kernels: list) -> None:
    kernel = find(kernels, "add<1>")
    path = shortest_path(kernel.body, {"LDG": 2, "STG": 1})
    assert path.accesses == {("LDG", 16): 2, ("STG", 16): 1}
    assert sum(at.matches("FADD") for at in path.instructions) == 4
    assert len(shortest_path(kernel.body, {})) < len(path) <= kernel.length


@pytest.mark.parametrize(("name", "estimate"), [("root", "MUFU.RSQ"), ("divide", "MUFU.RCP")])
def test_slow_paths_cost_nothing_unless_asked_for(kernels: list, name: str, estimate: str) -> None:
    kernel = find(kernels, name)
    fast = shortest_path(kernel.body, {estimate: 1, "STG": 1})
    assert not any(at.matches("CALL") for at in fast.instructions)
    slow = shortest_path(kernel.body, {"CALL": 1, "STG": 1})
    assert any(at.matches("RET") for at in slow.instructions)
    assert len(fast) < len(slow) < kernel.length


def test_every_round_of_a_loop_costs_the_same(kernels: list) -> None:
    kernel = find(kernels, "repeat")
    lengths = [len(shortest_path(kernel.body, {"LDG": n, "STG": 1})) for n in (1, 2, 3, 9)]
    a_round = lengths[1] - lengths[0]
    assert lengths[2:] == [lengths[0] + 2 * a_round, lengths[0] + 8 * a_round]


def test_an_object_file_gives_the_same(source: Path, kernels: list) -> None:
    made = source.with_suffix(".o")
    flags = [*project_flags(), "-gencode=arch=compute_80,code=sm_80",
             "-gencode=arch=compute_90,code=sm_90"]  # fmt: skip
    subprocess.run([find_nvcc(), *flags, "-c", str(source), "-o", str(made)], check=True)
    by_name = {kernel.name: kernel for kernel in kernels_of(made)}
    for kernel in kernels:
        same = by_name[kernel.name]
        assert same.body == kernel.body
        assert (same.block, same.resources.registers) == (kernel.block, kernel.resources.registers)
        assert same.resources.spill_stores is None


def test_the_report_has_a_line_per_kernel(source: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "tools" / "sass" / "report.py"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["registers", "block", "threads/SM", "shared", "stack", "spills",
                            "local", "instructions", "kernel"]  # fmt: skip
    assert len(lines) == 5
    (add,) = (line for line in lines if line.endswith("  add<1>"))
    assert add.split()[1:6] == ["256", "2048", "0", "0", "0+0"]

// The CUDA that kernels are written in: the real one, or the emulator that runs the same source on
// the CPU. Everything else in this folder is the same for both.
#pragma once

#include <cstdint>

#ifdef EFFEBM_CUDA_EMULATOR
#include "emulator.h"
#else
#include <cuda_runtime.h>
#define EFFEBM_SHARED(T, name, N) __shared__ T name[N]
// Declared once for all types: a kernel has one such array, of the size its launch gives.
#define EFFEBM_DYNAMIC_SHARED(T, name)                            \
  extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(dynamic_shared)
#define EFFEBM_LAUNCH(kernel, grid, block, stream, ...) \
  EFFEBM_LAUNCH_SHARED(kernel, grid, block, 0, stream, __VA_ARGS__)
#define EFFEBM_LAUNCH_SHARED(kernel, grid, block, bytes, stream, ...) \
  (kernel)<<<(grid), (block), (bytes), static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

namespace effebm::cuda {

// Shared memory that a block of the current device may have.
inline int64_t shared_memory_per_block() {
#ifdef EFFEBM_CUDA_EMULATOR
  return 227 << 10;
#else
  int device = 0, bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return bytes;
#endif
}

// Lets a kernel be launched with so much dynamic shared memory, which above 48 KiB has to be asked
// for, on every device.
template <class Kernel>
void allow_shared_memory([[maybe_unused]] Kernel kernel, [[maybe_unused]] int64_t bytes) {
#ifndef EFFEBM_CUDA_EMULATOR
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
#endif
}

}  // namespace effebm::cuda

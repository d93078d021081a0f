// The CUDA that kernels are written in: the real one, or the emulator that runs the same source on
// the CPU. Everything else in this folder is the same for both.
#pragma once

#include <cstdint>

#ifdef EFFEBM_CUDA_EMULATOR
#include "emulator.h"
#else
#include <cuda_runtime.h>
#define EFFEBM_SHARED(T, name, N) __shared__ T name[N]
#define EFFEBM_LAUNCH(kernel, grid, block, stream, ...) \
  (kernel)<<<(grid), (block), 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

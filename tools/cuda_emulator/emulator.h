// The header that a kernel includes instead of CUDA's to run on the CPU.
#pragma once

#include "atomics.h"
#include "cooperative_groups.h"
#include "intrinsics.h"
#include "runtime.h"
#include "vector_types.h"
#include "warp.h"

// CUDA declares its functions in the global namespace.
using namespace effebm::emulator::device;

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

#define threadIdx (::effebm::emulator::current->thread_index)
#define blockIdx (::effebm::emulator::current->block_index)
#define blockDim (::effebm::emulator::current->block_dim)
#define gridDim (::effebm::emulator::current->grid_dim)
constexpr int warpSize = 32;

// __shared__ T name[count]. The tag tells arrays apart: a template has one per instantiation.
#define EFFEBM_SHARED(T, name, count)  \
  static char name##_tag;              \
  T(&name)                             \
  [count] = *static_cast<T(*)[count]>( \
      ::effebm::emulator::shared_array(&name##_tag, sizeof(T) * (count), alignof(T)))
// extern __shared__ T name[]
#define EFFEBM_DYNAMIC_SHARED(T, name) \
  T* const name = static_cast<T*>(::effebm::emulator::dynamic_shared_array())

// kernel<<<grid, block, 0, stream>>>(...). A name with commas needs parentheses.
#define EFFEBM_LAUNCH(kernel, grid, block, stream, ...) \
  EFFEBM_LAUNCH_SHARED(kernel, grid, block, 0, stream __VA_OPT__(, ) __VA_ARGS__)
// kernel<<<grid, block, bytes, stream>>>(...)
#define EFFEBM_LAUNCH_SHARED(kernel, grid, block, bytes, stream, ...)      \
  (static_cast<void>(stream),                                              \
   ::effebm::emulator::launch_kernel(grid, block, size_t(bytes), 1, false, \
                                     kernel __VA_OPT__(, ) __VA_ARGS__))

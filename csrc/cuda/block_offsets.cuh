// Block offsets on the device, which the host cannot check without waiting for the device. As
// PyTorch does with indices, a kernel checks them before other kernels could read or write past
// their rows.
#pragma once

#include <cassert>

#include "../core/block_sign.h"
#include "access.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

static __global__ void __launch_bounds__(kThreads) check_offsets(Blocks blocks) {
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t b = int64_t(blockIdx.x) * kThreads + threadIdx.x; b < blocks.count(); b += stride) {
    [[maybe_unused]] const bool block_offsets_rise_from_0_to_the_end_of_a_row = blocks.is_sound(b);
    assert(block_offsets_rise_from_0_to_the_end_of_a_row);
  }
}

// Does nothing for blocks without offsets.
inline void launch_offsets_check(const Blocks& blocks, void* stream) {
  if (blocks.size() > 0) return;
  constexpr auto check = &check_offsets;
  EFFEBM_LAUNCH(check, grid_for((blocks.count() + kThreads - 1) / kThreads), kThreads, stream,
                blocks);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

// The CUDA kernels as the host launches them, torch-free. Pointers are device pointers; the device
// of Execution::stream is current.
#pragma once

#include "../core/kernels.h"

namespace effebm::cuda {

// Threads of a row have 31-bit numbers, and four elements each.
constexpr int64_t kMaxDim = (int64_t(1) << 33) - 1024;
// Counts of a row's entries are 32-bit on the device.
constexpr int64_t kMaxTopkDim = (int64_t(1) << 32) - 1;

EFFEBM_KERNELS(EFFEBM_DECLARE_KERNEL)

}  // namespace effebm::cuda

// What the ops call: launches on a stream, nothing else. Torch-free; pointers are device pointers,
// the stream is a cudaStream_t.
#pragma once

#include "../core/block_sign.h"
#include "../core/langevin_step.h"
#include "../core/packing.h"
#include "../core/topk.h"

namespace effebm::cuda {

// Counts of a row's entries are 32-bit on the device.
constexpr int64_t kMaxTopkDim = (int64_t(1) << 32) - 1;

void launch_topk(const TopkParams&, void* stream);
void launch_block_sign(const BlockSignParams&, void* stream);
void launch_pack_signs(const SignsParams&, void* stream);
void launch_unpack_signs(const SignsParams&, void* stream);
void launch_pack_entries(const EntriesParams&, void* stream);

// `workspace` has room for step_workspace() values of the compute type.
int64_t step_workspace(const LangevinStepParams&);
void launch_langevin_step(const LangevinStepParams&, void* workspace, void* stream);

}  // namespace effebm::cuda

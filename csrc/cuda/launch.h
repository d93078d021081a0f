// What the ops call: launches on a stream, nothing else. Torch-free; pointers are device pointers,
// the stream is a cudaStream_t.
#pragma once

#include "../core/block_sign.h"
#include "../core/langevin_step.h"
#include "../core/packing.h"
#include "../core/perturb.h"
#include "../core/topk.h"

namespace effebm::cuda {

// Counts of a row's entries are 32-bit on the device.
constexpr int64_t kMaxTopkDim = (int64_t(1) << 32) - 1;

// Bytes of device memory that a launch on the current device is to be given, aligned to 16.
int64_t workspace_of(const TopkParams&);
int64_t workspace_of(const BlockSignParams&);
int64_t workspace_of(const LangevinStepParams&);
int64_t workspace_of(const PerturbParams&);

void launch_topk(const TopkParams&, void* workspace, void* stream);
void launch_block_sign(const BlockSignParams&, void* workspace, void* stream);
void launch_langevin_step(const LangevinStepParams&, void* workspace, void* stream);
void launch_perturb(const PerturbParams&, void* workspace, void* stream);
void launch_pack_signs(const SignsParams&, void* stream);
void launch_unpack_signs(const SignsParams&, void* stream);
void launch_pack_entries(const EntriesParams&, void* stream);

}  // namespace effebm::cuda

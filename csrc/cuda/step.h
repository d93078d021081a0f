// Runs a Langevin step, or a part of it, on a CUDA device.
#pragma once

#include "../ops/langevin_step.h"
#include "launch.h"
#include "stream.h"

namespace effebm::cuda {

inline void run_step(const LangevinStepParams& params, const torch::stable::Tensor& x) {
  STD_TORCH_CHECK(params.compressor != Compressor::topk || params.dim <= kMaxTopkDim,
                  "x: expected fewer than 2**32 elements per row for Top-k on CUDA");
  std::optional<torch::stable::Tensor> workspace;
  if (const int64_t size = step_workspace(params))
    workspace = torch::stable::new_empty(x, {size}, ops::compute_type_of(x));
  void* const room = ops::data_of(workspace);
  on_stream_of(x, [&](void* stream) { launch_langevin_step(params, room, stream); });
}

}  // namespace effebm::cuda

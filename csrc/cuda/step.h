// Runs a Langevin step, or a part of it, on a CUDA device.
#pragma once

#include "../ops/langevin_step.h"
#include "stream.h"

namespace effebm::cuda {

inline void run_step(const LangevinStepParams& params, const torch::stable::Tensor& x) {
  STD_TORCH_CHECK(params.compressor != Compressor::topk || params.dim <= kMaxTopkDim,
                  "x: expected fewer than 2**32 elements per row for Top-k on CUDA");
  run_with_workspace(params, x, &launch_langevin_step);
}

}  // namespace effebm::cuda

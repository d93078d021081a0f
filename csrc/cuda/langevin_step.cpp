// langevin_step_ and langevin_step on CUDA.
#include "../ops/langevin_step.h"

#include "launch.h"
#include "stream.h"

namespace effebm::cuda {
namespace {

using torch::stable::Tensor;

void run(const LangevinStepParams& params, const Tensor& x) {
  STD_TORCH_CHECK(params.compressor != Compressor::topk || params.dim <= kMaxTopkDim,
                  "x: expected fewer than 2**32 elements per row for Top-k on CUDA");
  std::optional<Tensor> workspace;
  if (const int64_t size = step_workspace(params))
    workspace = torch::stable::new_empty(x, {size}, ops::compute_type_of(x));
  void* room = workspace ? workspace->mutable_data_ptr() : nullptr;
  on_stream_of(x, [&](void* stream) { launch_langevin_step(params, room, stream); });
}

void langevin_step_inplace(StableIValue* stack, uint64_t, uint64_t) {
  ops::langevin_step_inplace(stack, &run);
}

void langevin_step(StableIValue* stack, uint64_t, uint64_t) {
  ops::langevin_step_functional(stack, &run);
}

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("langevin_step_", &effebm::cuda::langevin_step_inplace);
  m.impl("langevin_step", &effebm::cuda::langevin_step);
}

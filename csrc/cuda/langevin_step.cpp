// langevin_step_ and langevin_step on CUDA.
#include "step.h"

namespace effebm::cuda {
namespace {

void langevin_step_inplace(StableIValue* stack, uint64_t, uint64_t) {
  ops::langevin_step_inplace(stack, &run_step);
}

void langevin_step(StableIValue* stack, uint64_t, uint64_t) {
  ops::langevin_step_functional(stack, &run_step);
}

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("langevin_step_", &effebm::cuda::langevin_step_inplace);
  m.impl("langevin_step", &effebm::cuda::langevin_step);
}

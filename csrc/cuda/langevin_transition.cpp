// langevin_transition on CUDA.
#include "../ops/langevin_transition.h"

#include "step.h"

namespace effebm::cuda {
namespace {

void langevin_transition(StableIValue* stack, uint64_t, uint64_t) {
  ops::langevin_transition(stack, &run_step);
}

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("langevin_transition", &effebm::cuda::langevin_transition);
}

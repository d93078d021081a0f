// langevin_transition: a Langevin step with its drift and the sums that weights and Metropolis
// need.
#include "langevin_transition.h"

namespace effebm::ops {
namespace {

void langevin_transition_cpu(StableIValue* stack, uint64_t, uint64_t) {
  langevin_transition(stack, &run_step_on_cpu);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("langevin_transition(Tensor x, Tensor grad, Tensor(a!)? residual, " EFFEBM_STEP_SCHEMA
        ") -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("langevin_transition", &effebm::ops::langevin_transition_cpu);
}

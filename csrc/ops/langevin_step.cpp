// langevin_step_ and langevin_step: compress + step + noise + bounds in one pass.
#include "langevin_step.h"

namespace effebm::ops {
namespace {

void langevin_step_inplace_cpu(StableIValue* stack, uint64_t, uint64_t) {
  langevin_step_inplace(stack, &run_step_on_cpu);
}

void langevin_step_cpu(StableIValue* stack, uint64_t, uint64_t) {
  langevin_step_functional(stack, &run_step_on_cpu);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "langevin_step_(Tensor(a!) x, Tensor grad, Tensor(b!)? residual, Tensor(c!)? "
      "statistics, " EFFEBM_STEP_SCHEMA ") -> ()");
  m.def("langevin_step(Tensor x, Tensor grad, " EFFEBM_STEP_SCHEMA ") -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("langevin_step_", &effebm::ops::langevin_step_inplace_cpu);
  m.impl("langevin_step", &effebm::ops::langevin_step_cpu);
}

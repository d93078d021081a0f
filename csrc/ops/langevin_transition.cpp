// langevin_transition: a Langevin step with its drift and the sums that weights and Metropolis
// need.
#include "langevin_step.h"

namespace effebm::ops {
namespace {

void langevin_transition(StableIValue* stack, uint64_t, uint64_t) {
  Arguments next(stack);
  const Tensor x = next.take<Tensor>();
  const Tensor grad = next.take<Tensor>();
  const OptionalTensor residual = next.take<OptionalTensor>();
  const Tensor in = dense(x);
  StepOutputs out{new_contiguous(in)};
  out.drift = torch::stable::new_empty(in, in.sizes(), compute_type_of(in));
  out.row_sums = new_row_sums(in);
  out.row_sums_of = RowSums::transition;
  std::optional<Writable> memory;
  if (residual) {
    check_residual(*residual, x, grad);
    memory.emplace(*residual, "residual");
    out.residual = memory->tensor();
  }
  step(in, grad, out, next);
  if (memory) memory->write_back();
  stack[0] = torch::stable::detail::from(out.x);
  stack[1] = torch::stable::detail::from(*out.drift);
  stack[2] = torch::stable::detail::from(*out.row_sums);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("langevin_transition(Tensor x, Tensor grad, Tensor(a!)? residual, " EFFEBM_STEP_SCHEMA
        ") -> (Tensor, Tensor, Tensor)");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("langevin_transition", &effebm::ops::langevin_transition); }

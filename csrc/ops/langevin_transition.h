// langevin_transition on any device: a step that also says what it did.
#pragma once

#include "langevin_step.h"

namespace effebm::ops {

// The boxed langevin_transition of a device.
inline void langevin_transition(StableIValue* stack, RunStep run) {
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
  step(in, grad, out, next, run);
  if (memory) memory->write_back();
  stack[0] = torch::stable::detail::from(out.x);
  stack[1] = torch::stable::detail::from(*out.drift);
  stack[2] = torch::stable::detail::from(*out.row_sums);
}

}  // namespace effebm::ops

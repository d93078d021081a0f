// langevin_step_ and langevin_step: compress + step + noise + bounds in one pass.
#include "langevin_step.h"

namespace effebm::ops {
namespace {

void langevin_step_inplace(StableIValue* stack, uint64_t, uint64_t) {
  Arguments next(stack);
  const Tensor x = next.take<Tensor>();
  const Tensor grad = next.take<Tensor>();
  const OptionalTensor residual = next.take<OptionalTensor>();
  const OptionalTensor statistics = next.take<OptionalTensor>();
  Writable state(x, "x");
  StepOutputs out{state.tensor()};
  std::optional<Writable> memory;
  if (residual) {
    check_residual(*residual, x, grad);
    memory.emplace(*residual, "residual");
    out.residual = memory->tensor();
  }
  if (statistics) {
    check_dtype_and_device(x, *statistics, compute_type_of(x), "statistics");
    STD_TORCH_CHECK(statistics->dim() == 2 && statistics->size(0) == x.size(0) &&
                        statistics->size(1) == kRowSums && statistics->is_contiguous(),
                    "statistics: expected a contiguous tensor of shape (n_chains, 2)");
    for (const Tensor& other : {x, grad})
      check_no_overlap(*statistics, other, "statistics and x or grad", false);
    if (residual) check_no_overlap(*statistics, *residual, "statistics and residual", false);
    out.row_sums = statistics;
    out.row_sums_of = RowSums::statistics;
  }
  step(state.tensor(), grad, out, next);
  if (statistics && x.numel() == 0) torch::stable::zero_(*out.row_sums);
  state.write_back();
  if (memory) memory->write_back();
}

void langevin_step_functional(StableIValue* stack, uint64_t, uint64_t) {
  Arguments next(stack);
  const Tensor x = next.take<Tensor>();
  const Tensor grad = next.take<Tensor>();
  const Tensor in = dense(x);
  const Tensor out = new_contiguous(in);
  step(in, grad, {out}, next);
  stack[0] = torch::stable::detail::from(out);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "langevin_step_(Tensor(a!) x, Tensor grad, Tensor(b!)? residual, Tensor(c!)? "
      "statistics, " EFFEBM_STEP_SCHEMA ") -> ()");
  m.def("langevin_step(Tensor x, Tensor grad, " EFFEBM_STEP_SCHEMA ") -> Tensor");
}

EFFEBM_IMPLEMENTATIONS(m) {
  m.impl("langevin_step_", &effebm::ops::langevin_step_inplace);
  m.impl("langevin_step", &effebm::ops::langevin_step_functional);
}

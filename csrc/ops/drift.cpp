// drift: the clipped and compressed gradient, and sums over its rows.
#include "langevin_step.h"

namespace effebm::ops {
namespace {

void drift(StableIValue* stack, uint64_t, uint64_t) {
  Arguments next(stack);
  const Tensor grad = next.take<Tensor>();
  const OptionalTensor delta = next.take<OptionalTensor>();
  const RowSums row_sums_of = RowSums(next.take<int64_t>());
  const Tensor in = dense(grad);
  const Tensor out = torch::stable::new_empty(in, in.sizes(), compute_type_of(in));
  const Tensor row_sums = new_row_sums(in);
  STD_TORCH_CHECK(row_sums_of == RowSums::statistics || row_sums_of == RowSums::transition,
                  "row_sums_of: unknown code");
  LangevinStepParams p = drift_params(in, DriftArguments{next});
  add_key(in, KeyArguments<OptionalTensor>{next}, p);
  OptionalTensor dense_delta;
  if (delta) {
    check_same_shape(grad, *delta, "delta");
    check_dtype_and_device(grad, *delta, compute_type_of(grad), "delta");
    dense_delta = dense(*delta);
    p.delta = dense_delta->const_data_ptr();
  }
  p.drift = out.mutable_data_ptr();
  p.row_sums = row_sums.mutable_data_ptr();
  p.row_sums_of = row_sums_of;
  if (in.numel() > 0) run(&Kernels::langevin_step, p, in);
  stack[0] = torch::stable::detail::from(out);
  stack[1] = torch::stable::detail::from(row_sums);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("drift(Tensor grad, Tensor? delta, int row_sums_of, " EFFEBM_DRIFT_SCHEMA
        ", " EFFEBM_KEY_SCHEMA ") -> (Tensor, Tensor)");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("drift", &effebm::ops::drift); }

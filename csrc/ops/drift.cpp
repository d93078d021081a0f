// drift: the clipped and compressed gradient, and sums over its rows.
#include "drift.h"

namespace effebm::ops {
namespace {

void drift_cpu(StableIValue* stack, uint64_t, uint64_t) { drift(stack, &run_step_on_cpu); }

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("drift(Tensor grad, Tensor? delta, int row_sums_of, " EFFEBM_DRIFT_SCHEMA
        ") -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) { m.impl("drift", &effebm::ops::drift_cpu); }

// uniforms: a uniform number for each chain.
#include "kernels.h"

namespace effebm::ops {
namespace {

// Returns float64 (n,) on the device of the key.
Tensor uniforms(const Tensor& key, int64_t offset, int64_t first_chain, int64_t n,
                int64_t purpose) {
  check_key(key, first_chain, n);
  STD_TORCH_CHECK(purpose >= 0 && purpose < 256, "purpose: expected 0 to 255, got ", purpose);
  const Tensor out = torch::stable::new_empty(key, {n}, ScalarType::Double);
  if (n > 0)
    run(&Kernels::uniforms,
        UniformsParams{n, 1, out.mutable_data_ptr<double>(), key.const_data_ptr<int64_t>(), offset,
                       first_chain, int32_t(purpose)},
        key);
  return out;
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("uniforms(Tensor key, SymInt offset, SymInt first_chain, SymInt n, int purpose) -> Tensor");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("uniforms", TORCH_BOX(&effebm::ops::uniforms)); }

// log_ratio: the logarithm of the ratio that makes a Langevin step exact, of each chain.
#include "energies.h"
#include "kernels.h"

namespace effebm::ops {
namespace {

// Returns float64 (n_chains,).
Tensor log_ratio(const Tensor& energy, const Tensor& new_energy, const Tensor& sums,
                 const Tensor& back_sums, double step_size) {
  STD_TORCH_CHECK(energy.dim() == 1, "energy: expected shape (n_chains,), got ",
                  text_of(energy.sizes()));
  STD_TORCH_CHECK(sums.scalar_type() == compute_type_of(sums),
                  "sums: expected float32 or float64, got ",
                  torch::headeronly::toString(sums.scalar_type()));
  const int64_t n = energy.size(0);
  check_energies(energy, energy, new_energy, n);
  check_shape(sums, {n, 2}, "sums");
  check_dtype_and_device(energy, sums, sums.scalar_type(), "sums");
  check_shape(back_sums, {n, 2}, "back_sums");
  check_dtype_and_device(energy, back_sums, sums.scalar_type(), "back_sums");
  const Tensor before = dense(energy), after = dense(new_energy);
  const Tensor on = dense(sums), back = dense(back_sums);
  const Tensor out = torch::stable::new_empty(energy, {n}, ScalarType::Double);
  if (n > 0)
    run(&Kernels::log_ratio,
        LogRatioParams{dtype_of(before), dtype_of(on), n, 1, before.const_data_ptr(),
                       after.const_data_ptr(), on.const_data_ptr(), back.const_data_ptr(),
                       step_size, out.mutable_data_ptr<double>()},
        energy);
  return out;
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "log_ratio(Tensor energy, Tensor new_energy, Tensor sums, Tensor back_sums, "
      "float step_size) -> Tensor");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("log_ratio", TORCH_BOX(&effebm::ops::log_ratio)); }

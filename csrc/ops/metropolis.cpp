// metropolis_: takes or rejects the proposals of chains.
#include <tuple>

#include "energies.h"
#include "kernels.h"

namespace effebm::ops {
namespace {

// Rejected rows of new_x and new_drift get those of x and drift. Returns the energies, and the
// probabilities float64 (n_chains,).
std::tuple<Tensor, Tensor> metropolis_(const Tensor& log_ratio, const Tensor& energy,
                                       const Tensor& new_energy, const Tensor& x,
                                       const Tensor& drift, const Tensor& new_x,
                                       const Tensor& new_drift, const Tensor& key, int64_t offset,
                                       int64_t first_chain) {
  const Rows rows = rows_of(x);
  STD_TORCH_CHECK(x.scalar_type() == compute_type_of(x), "x: expected float32 or float64, got ",
                  torch::headeronly::toString(x.scalar_type()));
  check_energies(x, energy, new_energy, rows.count);
  check_shape(log_ratio, {rows.count}, "log_ratio");
  check_dtype_and_device(x, log_ratio, ScalarType::Double, "log_ratio");
  const auto check_rows = [&](const Tensor& t, const char* name) {
    check_same_shape(x, t, name);
    check_dtype_and_device(x, t, x.scalar_type(), name);
  };
  check_rows(drift, "drift");
  check_rows(new_x, "new_x");
  check_rows(new_drift, "new_drift");
  check_chains(x, key, first_chain);
  check_no_overlap(new_x, x, "new_x and x", true);
  check_no_overlap(new_x, drift, "new_x and drift", false);
  check_no_overlap(new_drift, x, "new_drift and x", false);
  check_no_overlap(new_drift, drift, "new_drift and drift", true);
  check_no_overlap(new_x, new_drift, "new_x and new_drift", false);

  const Tensor before = dense(energy), after = dense(new_energy), ratio = dense(log_ratio);
  const Tensor old_x = dense(x), old_drift = dense(drift);
  Writable to_x(new_x, "new_x"), to_drift(new_drift, "new_drift");
  const Tensor kept = new_contiguous(before);
  const Tensor probability = torch::stable::new_empty(before, {rows.count}, ScalarType::Double);
  if (rows.count == 0) return {kept, probability};
  MetropolisParams p{};
  p.energy_dtype = dtype_of(before);
  p.rows = rows.count;
  p.dim = 1;
  p.log_ratio = ratio.const_data_ptr<double>();
  p.energy = before.const_data_ptr();
  p.new_energy = after.const_data_ptr();
  p.energy_out = kept.mutable_data_ptr();
  p.probability = probability.mutable_data_ptr<double>();
  if (rows.dim > 0) {
    p.dim = rows.dim * int64_t(x.element_size() / sizeof(uint32_t));
    p.x = old_x.const_data_ptr();
    p.drift = old_drift.const_data_ptr();
    p.new_x = to_x.tensor().mutable_data_ptr();
    p.new_drift = to_drift.tensor().mutable_data_ptr();
  }
  p.key = key.const_data_ptr<int64_t>();
  p.offset = offset;
  p.first_chain = first_chain;
  run(&Kernels::metropolis, p, x);
  to_x.write_back();
  to_drift.write_back();
  return {kept, probability};
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "metropolis_(Tensor log_ratio, Tensor energy, Tensor new_energy, Tensor x, Tensor drift, "
      "Tensor(a!) new_x, Tensor(b!) new_drift, Tensor key, SymInt offset, SymInt first_chain) "
      "-> (Tensor, Tensor)");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("metropolis_", TORCH_BOX(&effebm::ops::metropolis_)); }

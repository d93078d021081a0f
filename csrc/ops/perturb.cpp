// perturbed_pair: x + s xi + v and x + s xi - v with v in a random direction, in one pass.
#include <tuple>
#include <vector>

#include "kernels.h"

namespace effebm::ops {
namespace {

// Returns (2, n_chains, *event) of x's dtype, and (n_chains,) of its compute type.
std::tuple<Tensor, Tensor> perturbed_pair(const Tensor& x, const Tensor& key, int64_t offset,
                                          int64_t first_chain, double radius, OptionalTensor radii,
                                          double noise_std, OptionalTensor noise_stds) {
  const Rows rows = rows_of(x);
  check_chains(x, key, first_chain);
  const ChainScalar radius_of = chain_scalar(radii, x, "radius");
  const ChainScalar noise_std_of = chain_scalar(noise_stds, x, "noise_std");
  const Tensor in = dense(x);
  std::vector<int64_t> sizes = {2};
  for (int64_t size : x.sizes()) sizes.push_back(size);
  const Tensor out = torch::stable::new_empty(in, sizes);
  Tensor noise_dot = torch::stable::new_empty(in, {rows.count}, compute_type_of(in));
  if (x.numel() == 0) {
    torch::stable::zero_(noise_dot);
    return {out, noise_dot};
  }
  const PerturbParams params{dtype_of(in),
                             rows.count,
                             rows.dim,
                             in.const_data_ptr(),
                             out.mutable_data_ptr(),
                             noise_dot.mutable_data_ptr(),
                             key.const_data_ptr<int64_t>(),
                             offset,
                             first_chain,
                             radius,
                             radius_of.data,
                             radius_of.stride,
                             noise_std,
                             noise_std_of.data,
                             noise_std_of.stride};
  run(&Kernels::perturb, params, in);
  return {out, noise_dot};
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "perturbed_pair(Tensor x, Tensor key, SymInt offset, SymInt first_chain, float radius, "
      "Tensor? radii=None, float noise_std=0, Tensor? noise_stds=None) -> (Tensor, Tensor)");
}

EFFEBM_IMPLEMENTATIONS(m) { m.impl("perturbed_pair", TORCH_BOX(&effebm::ops::perturbed_pair)); }

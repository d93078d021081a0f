// perturbed_pair on any device.
#pragma once

#include <tuple>

#include "../core/perturb.h"
#include "common.h"

namespace effebm::ops {

// Runs the kernel on the device of the tensor; there is at least one element.
using RunPerturb = void (*)(const PerturbParams&, const Tensor&);

// (2, n_chains, *event) of x's dtype, and (n_chains,) of its compute type.
inline std::tuple<Tensor, Tensor> perturbed_pair(const Tensor& x, const Tensor& key, int64_t offset,
                                                 int64_t first_chain, double radius,
                                                 const OptionalTensor& radii, double noise_std,
                                                 const OptionalTensor& noise_stds, RunPerturb run) {
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
  run({dtype_of(in), rows.count, rows.dim, in.const_data_ptr(), out.mutable_data_ptr(),
       noise_dot.mutable_data_ptr(), key.const_data_ptr<int64_t>(), offset, first_chain, radius,
       radius_of.data, radius_of.stride, noise_std, noise_std_of.data, noise_std_of.stride},
      in);
  return {out, noise_dot};
}

}  // namespace effebm::ops

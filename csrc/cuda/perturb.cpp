// perturbed_pair on CUDA.
#include "../ops/perturb.h"

#include "stream.h"

namespace effebm::cuda {
namespace {

using ops::OptionalTensor;
using torch::stable::Tensor;

std::tuple<Tensor, Tensor> perturbed_pair(const Tensor& x, const Tensor& key, int64_t offset,
                                          int64_t first_chain, double radius, OptionalTensor radii,
                                          double noise_std, OptionalTensor noise_stds) {
  return ops::perturbed_pair(
      x, key, offset, first_chain, radius, radii, noise_std, noise_stds,
      [](const PerturbParams& p, const Tensor& in) { run_with_workspace(p, in, &launch_perturb); });
}

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("perturbed_pair", TORCH_BOX(&effebm::cuda::perturbed_pair));
}

// perturbed_pair: x + s xi + v and x + s xi - v with v in a random direction, in one pass.
#include "perturb.h"

namespace effebm::ops {
namespace {

std::tuple<Tensor, Tensor> perturbed_pair_cpu(const Tensor& x, const Tensor& key, int64_t offset,
                                              int64_t first_chain, double radius,
                                              OptionalTensor radii, double noise_std,
                                              OptionalTensor noise_stds) {
  return perturbed_pair(
      x, key, offset, first_chain, radius, radii, noise_std, noise_stds,
      [](const PerturbParams& p, const Tensor&) { cpu::kernels().perturb(p, torch_threads()); });
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def(
      "perturbed_pair(Tensor x, Tensor key, SymInt offset, SymInt first_chain, float radius, "
      "Tensor? radii=None, float noise_std=0, Tensor? noise_stds=None) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("perturbed_pair", TORCH_BOX(&effebm::ops::perturbed_pair_cpu));
}

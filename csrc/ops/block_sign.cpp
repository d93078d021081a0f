// block_sign_compress: every entry becomes its sign times the mean magnitude of its block.
#include "block_sign.h"

namespace effebm::ops {
namespace {

void run_on_cpu(const BlockSignParams& params, const Tensor&) {
  cpu::kernels().block_sign(params, torch_threads());
}

Tensor block_sign_compress_cpu(const Tensor& x, int64_t block_size,
                               std::optional<Tensor> block_offsets) {
  return block_sign_compress(x, block_size, block_offsets, &run_on_cpu);
}

}  // namespace
}  // namespace effebm::ops

STABLE_TORCH_LIBRARY_FRAGMENT(effebm, m) {
  m.def("block_sign_compress(Tensor x, SymInt block_size, Tensor? block_offsets) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(effebm, CPU, m) {
  m.impl("block_sign_compress", TORCH_BOX(&effebm::ops::block_sign_compress_cpu));
}

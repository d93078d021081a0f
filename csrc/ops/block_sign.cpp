// block_sign_compress: every entry becomes its sign times the mean magnitude of its block.
#include "block_sign.h"

#include "../cpu/kernels.h"

namespace effebm::ops {
namespace {

void run_on_cpu(const BlockSignParams& params, const Tensor&) {
  parallel_rows({params.rows, params.dim},
                [&](int64_t begin, int64_t end) { cpu::kernels().block_sign(params, begin, end); });
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

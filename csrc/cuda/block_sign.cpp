// block_sign_compress on CUDA.
#include "../ops/block_sign.h"

#include "stream.h"

namespace effebm::cuda {
namespace {

using torch::stable::Tensor;

void run(const BlockSignParams& params, const Tensor& x) {
  run_with_workspace(params, x, &launch_block_sign);
}

Tensor block_sign_compress(const Tensor& x, int64_t block_size,
                           std::optional<Tensor> block_offsets) {
  return ops::block_sign_compress(x, block_size, block_offsets, &run);
}

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("block_sign_compress", TORCH_BOX(&effebm::cuda::block_sign_compress));
}

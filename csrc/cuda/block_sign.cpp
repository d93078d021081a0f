// block_sign_compress on CUDA.
#include "../ops/block_sign.h"

#include "launch.h"
#include "stream.h"

namespace effebm::cuda {
namespace {

using torch::stable::Tensor;

void run(const BlockSignParams& params, const Tensor& x) {
  on_stream_of(x, [&](void* stream) { launch_block_sign(params, stream); });
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

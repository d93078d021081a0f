// topk_compress on CUDA.
#include "../ops/topk.h"

#include "stream.h"

namespace effebm::cuda {
namespace {

using torch::stable::Tensor;

void run(const TopkParams& params, const Tensor& x) {
  STD_TORCH_CHECK(params.dim <= kMaxTopkDim,
                  "x: expected fewer than 2**32 elements per row on CUDA");
  run_with_workspace(params, x, &launch_topk);
}

Tensor topk_compress(const Tensor& x, int64_t k) { return ops::topk_compress(x, k, &run); }

}  // namespace
}  // namespace effebm::cuda

STABLE_TORCH_LIBRARY_IMPL(effebm, CUDA, m) {
  m.impl("topk_compress", TORCH_BOX(&effebm::cuda::topk_compress));
}

#include "launch.h"
#include "topk.cuh"

namespace effebm::cuda {

void launch_topk(const TopkParams& p, void* stream) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_topk_rows<CompressRow<T>>(p, p.k, can_vectorise<T>(p), stream);
  });
}

}  // namespace effebm::cuda

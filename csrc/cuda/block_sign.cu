#include "block_sign.cuh"
#include "launch.h"

namespace effebm::cuda {

void launch_block_sign(const BlockSignParams& p, void* stream) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch_block_sign_rows<CompressRow<T>>(p, blocks_of(p), can_vectorise<T>(p), stream);
  });
}

}  // namespace effebm::cuda

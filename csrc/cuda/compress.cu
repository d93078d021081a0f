#include "compressor_launch.cuh"
#include "kernels.h"

namespace effebm::cuda {

void compress(const CompressParams& p, const Execution& on) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto make = [&](Workspace& space) { return CompressorLaunch<CompressRow<T>>(p, space); };
    with_workspace(on, make).run(p, can_vectorise<T>(p), on.stream);
  });
}

}  // namespace effebm::cuda

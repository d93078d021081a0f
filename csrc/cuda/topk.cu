#include "kernels.h"
#include "topk_launch.cuh"

namespace effebm::cuda {

void topk(const TopkParams& p, const Execution& on) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    const TopkPlan plan = topk_plan<CompressRow<T>>(p, p.k);
    void* const counters =
        with_workspace(on, [&](Workspace& space) { return take_counters(space, plan); });
    launch_topk_rows<CompressRow<T>>(p, p.k, can_vectorise<T>(p), plan, counters, on.stream);
  });
}

}  // namespace effebm::cuda

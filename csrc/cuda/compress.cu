#include "../core/dtype.h"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Each storage type has a source of its own, so that a build compiles them at the same time.
template <class T>
void launch_compress(const CompressParams& p, const Execution& on);

extern template void launch_compress<float>(const CompressParams&, const Execution&);
extern template void launch_compress<double>(const CompressParams&, const Execution&);
extern template void launch_compress<core::bfloat16>(const CompressParams&, const Execution&);
extern template void launch_compress<core::float16>(const CompressParams&, const Execution&);

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void compress(const CompressParams& p, const Execution& on) {
  core::dispatch(p.dtype, [&](auto zero) { cuda_kernels::launch_compress<decltype(zero)>(p, on); });
}

}  // namespace effebm::cuda

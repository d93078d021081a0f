#include "compress.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template void launch_compress<core::float16>(const CompressParams&, const Execution&);

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

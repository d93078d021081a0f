// The choice of the kernels for a compressor, and their launch. A Family has what an op does to
// elements, in the variants that kernels need: launch_flat(compression, stream), and
// with_row_op(f), which calls f(Op()) with the Op of kernels that take whole rows, quad by quad.
#pragma once

#include "block_sign_launch.cuh"
#include "random_block_launch.cuh"
#include "random_k_launch.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class Family>
class CompressorLaunch {
 public:
  CompressorLaunch(const Family& family, cuda::Workspace& space) {
    switch (family.p.compressor) {
#define EFFEBM_CASE(name, Class, ...)               \
  case Compressor::name:                            \
    name##_ = Class##Launch<Family>(family, space); \
    break;
      EFFEBM_ROW_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
      default:  // the others need no workspace
        break;
    }
  }

  void run(const Family& family, void* stream) const {
    switch (family.p.compressor) {
      case Compressor::none:
        return family.launch_flat(KeepAll(), stream);
#define EFFEBM_CASE(name, ...) \
  case Compressor::name:       \
    return name##_.run(family, stream);
        EFFEBM_ROW_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
#define EFFEBM_CASE(name, Class, ...) \
  case Compressor::name:              \
    return family.launch_flat(ByElement<Class>(), stream);
        EFFEBM_ELEMENT_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
    }
  }

 private:
#define EFFEBM_MEMBER(name, Class, ...) Class##Launch<Family> name##_;
  EFFEBM_ROW_COMPRESSORS(EFFEBM_MEMBER)
#undef EFFEBM_MEMBER
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

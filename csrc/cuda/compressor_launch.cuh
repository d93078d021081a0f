// The choice of the kernels for a compressor, and their launch.
#pragma once

#include "block_sign_launch.cuh"
#include "elements.cuh"
#include "random_k_launch.cuh"
#include "topk_launch.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class Row>
class CompressorLaunch {
 public:
  template <class Params>
  CompressorLaunch(const Params& p, cuda::Workspace& space) {
    switch (p.compressor) {
#define EFFEBM_CASE(name, Class, ...)       \
  case Compressor::name:                    \
    name##_ = Class##Launch<Row>(p, space); \
    break;
      EFFEBM_ROW_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
      default:  // the others need no workspace
        break;
    }
  }

  template <class Params>
  void run(const Params& p, bool vector, void* stream) const {
    switch (p.compressor) {
      case Compressor::none:
        return launch_tiles<Row>(p, Keep<true>(), vector, stream);
#define EFFEBM_CASE(name, ...) \
  case Compressor::name:       \
    return name##_.run(p, vector, stream);
        EFFEBM_ROW_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
#define EFFEBM_CASE(name, Class, ...) \
  case Compressor::name:              \
    return launch_tiles<Row>(p, ByElement<Class>(), vector, stream);
        EFFEBM_ELEMENT_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
    }
  }

 private:
#define EFFEBM_MEMBER(name, Class, ...) Class##Launch<Row> name##_;
  EFFEBM_ROW_COMPRESSORS(EFFEBM_MEMBER)
#undef EFFEBM_MEMBER
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

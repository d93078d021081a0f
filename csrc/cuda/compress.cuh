// How the op compress is launched.
#pragma once

#include "compress_op.cuh"
#include "compressor_launch.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class T>
struct CompressFamily {
  using A = Compute<T>;
  using Params = CompressParams;
  CompressParams p;

  static constexpr bool reports() { return false; }
  bool has_vectors(int N) const {
    return whole_vectors<T>(p.x, p.dim, N) && whole_vectors<T>(p.out, p.dim, N);
  }

  template <class F>
  void with_row_op(const F& f) const {
    has_vectors(kQuad) ? f(CompressOp<T, Access<kQuad, true>>())
                       : f(CompressOp<T, Access<kQuad, false>>());
  }

  void launch_flat(const AnyCompression& compress, void* stream) const {
    with_row_op([&](auto op) {
      cuda_kernels::launch_flat<decltype(op), AnyCompression>(p, compress, compress.unit(kQuad),
                                                              stream);
    });
  }
};

template <class T>
void launch_compress(const CompressParams& p, const Execution& on) {
  const CompressFamily<T> family = {p};
  const auto make = [&](cuda::Workspace& space) { return CompressorLaunch(family, space); };
  cuda::with_workspace(on, make).run(family, on.stream);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

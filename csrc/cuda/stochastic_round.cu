// Stochastic rounding to 16-bit floats and to codes of 8 bits: a thread for eight neighbours.
#include "../core/stochastic_round.h"
#include "access.cuh"
#include "flat_index.cuh"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class T, class Access>
__global__ void __launch_bounds__(kThreads)
    stochastic_round(StochasticRoundParams p, FlatIndex index) {
  constexpr int N = Access::kElements;
  const Place place = index.place<Access>(p.dim);
  if (place.n == 0) return;
  float v[N] = {};
  load<Access>(p.x + place.at, place.n, v);
  const Stream stream = stream_of(p);
  T out[N];
  for (int q = 0; q < N / kQuad; ++q) {
    const Words words = draw(stream, uint32_t(p.first_chain + place.row),
                             uint32_t(place.begin / kQuad) + uint32_t(q));
    for (int i = 0; i < kQuad; ++i)
      out[q * kQuad + i] = rounded<T>(p, v[q * kQuad + i], words.w[i]);
  }
  store<Access>(static_cast<T*>(p.out) + place.at, place.n, out);
}

template <class T, class Access>
void launch_stochastic_round(const StochasticRoundParams& p, void* stream) {
  constexpr auto kernel = &stochastic_round<T, Access>;
  for_flat_parts(p.rows, p.dim, Access::kElements, 1, [&](const FlatIndex& index, unsigned blocks) {
    EFFEBM_LAUNCH(kernel, blocks, kThreads, stream, p, index);
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void stochastic_round(const StochasticRoundParams& p, const Execution& on) {
  using namespace cuda_kernels;
  constexpr int kWide = 2 * kQuad;  // eight codes make a vector of 8 bytes
  dispatch(p.to, [&](auto zero) {
    using T = decltype(zero);
    const bool vectors =
        whole_vectors<float>(p.x, p.dim, kWide) && whole_vectors<T>(p.out, p.dim, kWide);
    vectors ? launch_stochastic_round<T, Access<kWide, true>>(p, on.stream)
            : launch_stochastic_round<T, Access<kQuad, false>>(p, on.stream);
  });
}

}  // namespace effebm::cuda

// Acceptance of proposals, by a flat kernel over the words of rows. Every thread of a row makes the
// row's decision, and the first one writes it down.
#include "../core/metropolis.h"
#include "access.cuh"
#include "flat_index.cuh"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class Way>
__device__ void keep_words(const void* from, void* to, const Place& place) {
  uint32_t words[kQuad] = {};
  load<Way>(static_cast<const uint32_t*>(from) + place.at, place.n, words);
  store<Way>(static_cast<uint32_t*>(to) + place.at, place.n, words);
}

template <class E, bool kVector>
__global__ void __launch_bounds__(kThreads) decide_rows(MetropolisParams p, FlatIndex index) {
  using Way = Access<kQuad, kVector>;
  const Place place = index.place<Way>(p.dim);
  if (place.n == 0) return;
  const Decision<E> decision = decide<E>(p, stream_of(p), place.row);
  if (place.begin == 0) {
    p.probability[place.row] = decision.probability;
    static_cast<E*>(p.energy_out)[place.row] = decision.energy;
  }
  if (decision.is_accepted || !p.x) return;
  keep_words<Way>(p.x, p.new_x, place);
  keep_words<Way>(p.drift, p.new_drift, place);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void metropolis(const MetropolisParams& p, const Execution& on) {
  using namespace cuda_kernels;
  bool whole = true;
  for (const void* rows :
       {p.x, p.drift, static_cast<const void*>(p.new_x), static_cast<const void*>(p.new_drift)})
    whole = whole && whole_vectors<uint32_t>(rows, p.dim, kQuad);
  dispatch(p.energy_dtype, [&](auto energy) {
    using E = decltype(energy);
    constexpr auto vectors = &decide_rows<E, true>, scalars = &decide_rows<E, false>;
    const auto kernel = whole ? vectors : scalars;
    for_flat_parts(p.rows, p.dim, kQuad, 1, [&](const FlatIndex& index, unsigned blocks) {
      EFFEBM_LAUNCH(kernel, blocks, kThreads, on.stream, p, index);
    });
  });
}

}  // namespace effebm::cuda

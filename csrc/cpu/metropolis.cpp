// Acceptance of proposals.
#include "../core/metropolis.h"

#include <cstring>

#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

void keep_row(const void* from, void* to, int64_t row, int64_t bytes) {
  const int64_t at = row * bytes;
  std::memcpy(static_cast<char*>(to) + at, static_cast<const char*>(from) + at, size_t(bytes));
}

template <class E>
void decide_rows(const MetropolisParams& p, int64_t begin, int64_t end) {
  const KeepDenormals keep_denormals;
  const core::Stream stream = core::stream_of(p);
  const int64_t bytes = p.dim * int64_t(sizeof(uint32_t));
  for (int64_t r = begin; r < end; ++r) {
    const core::Decision<E> decision = core::decide<E>(p, stream, r);
    p.probability[r] = decision.probability;
    static_cast<E*>(p.energy_out)[r] = decision.energy;
    if (decision.is_accepted || !p.x) continue;
    keep_row(p.x, p.new_x, r, bytes);
    keep_row(p.drift, p.new_drift, r, bytes);
  }
}

}  // namespace

void metropolis(const MetropolisParams& p, const Execution& on) {
  core::dispatch(p.energy_dtype, [&](auto energy) {
    on.threads.run(p.rows, kDecision + p.dim * kKeptWord, [&](int64_t begin, int64_t end) {
      decide_rows<decltype(energy)>(p, begin, end);
    });
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

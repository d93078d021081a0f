// Stochastic rounding to 16-bit floats and to codes of 8 bits.
#include "../core/stochastic_round.h"

#include "draws.h"
#include "row.h"
#include "team.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

template <class T>
void round_rows(const StochasticRoundParams& p, const Threads& threads) {
  const Stream stream = stream_of(p);
  for_rows<kRound>(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch&) {
    const float* x = p.x + r * p.dim;
    T* out = static_cast<T*>(p.out) + r * p.dim;
    const Draws draws(stream, uint32_t(p.first_chain + r));
    team.run(p.dim, kChunk, [&](int, int64_t begin, int64_t end) {
      for_chunks(begin, end, [&](int64_t at, int n) {
        alignas(64) uint32_t words[kChunk];
        draws.words(uint32_t(at / 4), (n + 3) / 4, words);
        const StochasticRoundParams params = p;  // vector code needs it in a local variable
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[at + i] = rounded<T>(params, x[at + i], words[i]);
      });
    });
  });
}

}  // namespace

void stochastic_round(const StochasticRoundParams& p, const Execution& on) {
  dispatch(p.to, [&](auto zero) { round_rows<decltype(zero)>(p, on.threads); });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

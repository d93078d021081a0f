// Random-k of one row: Top-k of the row's random words chooses the entries.
#pragma once

#include <memory>

#include "../core/random_k.h"
#include "draws.h"
#include "topk.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class RandomKCompressor {
 public:
  using A = Compute<T>;

  RandomKCompressor(const RowInput<T>&, int64_t dim, const CompressorParams& p, int64_t r,
                    const Team& team, Scratch& scratch)
      : magnitudes_(random_magnitudes(dim, p, r, team)),
        chosen_({magnitudes_.get()}, dim, p, r, team, scratch),
        factor_(random_k_factor<A>(p, dim)) {}

  class Walk {
   public:
    Walk(const RandomKCompressor& whole, int part, int64_t begin)
        : whole_(whole), chosen_(whole.chosen_, part, begin) {}

    // The compressed n <= kChunk elements from `at` on, of input u, in `room`.
    const A* compress(int64_t at, int n, const A* u, A* room) {
      float buffer[kChunk];
      const float* chosen = chosen_.compress(at, n, whole_.magnitudes_.get() + at, buffer);
      const A factor = whole_.factor_;
      for (int i = 0; i < n; ++i) room[i] = chosen[i] != 0 ? u[i] * factor : A(0);
      return room;
    }

   private:
    const RandomKCompressor& whole_;
    TopkCompressor<float>::Walk chosen_;
  };

 private:
  static std::unique_ptr<float[]> random_magnitudes(int64_t dim, const CompressorParams& p,
                                                    int64_t r, const Team& team) {
    auto magnitudes = std::make_unique_for_overwrite<float[]>(size_t(dim));
    const Draws draws(stream_of(p, Purpose::compression), chain_of(p, r));
    team.run(dim, kChunk, [&](int, int64_t begin, int64_t end) {
      for_chunks(begin, end, [&](int64_t at, int n) {
        alignas(64) uint32_t words[kChunk];
        draws.words(uint32_t(at / 4), (n + 3) / 4, words);
        for (int i = 0; i < n; ++i) magnitudes[size_t(at + i)] = random_magnitude(words[i]);
      });
    });
    return magnitudes;
  }

  std::unique_ptr<float[]> magnitudes_;
  TopkCompressor<float> chosen_;
  A factor_;
};

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

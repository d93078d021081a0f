// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and the
// layout of its counter: which random words belong to which element of which chain.
#pragma once

#include "arith.h"

namespace effebm::inline EFFEBM_ISA::core {

struct Words {
  uint32_t w[4];
};

constexpr int kPhiloxRounds = 10;
constexpr uint32_t kPhiloxMul0 = 0xD2511F53u, kPhiloxMul1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;

EFFEBM_HD Words philox4x32_10(Words counter, uint32_t key0, uint32_t key1) {
  uint32_t c0 = counter.w[0], c1 = counter.w[1], c2 = counter.w[2], c3 = counter.w[3];
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = uint64_t(kPhiloxMul0) * c0, p1 = uint64_t(kPhiloxMul1) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ key0;
    c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ key1;
    c3 = uint32_t(p0);
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return {{c0, c1, c2, c3}};
}

// The use of a random word. Two uses never share a stream.
enum class Purpose : uint32_t {
  noise = 0,
  compression,
  acceptance,
  resampling,
  directions,
  rounding,
  storage
};

constexpr int kOffsetBits = 56;

// The stream of a (seed, offset, purpose); offset counts steps, modulo 2^56.
struct Stream {
  uint32_t key0, key1;  // the seed
  uint32_t c2, c3;      // the offset, and the purpose in the top byte
};

EFFEBM_HD Stream make_stream(uint64_t seed, uint64_t offset, Purpose purpose) {
  const uint32_t high = uint32_t(offset >> 32) & 0x00FFFFFFu;
  return {uint32_t(seed), uint32_t(seed >> 32), uint32_t(offset), high | uint32_t(purpose) << 24};
}

// Draws the four words of elements 4 * quad .. 4 * quad + 3 of one chain.
EFFEBM_HD Words draw(const Stream& s, uint32_t chain, uint32_t quad) {
  return philox4x32_10({{quad, chain, s.c2, s.c3}}, s.key0, s.key1);
}

}  // namespace effebm::inline EFFEBM_ISA::core

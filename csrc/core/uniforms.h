// Uniform numbers, one for each chain: for acceptance and for resampling. This file has their
// parameters and how one is made of random words.
#pragma once

#include "philox.h"

namespace effebm {

// A number per row, so a row has one element.
struct UniformsParams {
  int64_t rows, dim;
  double* out;         // (rows,)
  const int64_t* key;  // seed, offset
  int64_t offset;      // added to the key's offset
  int64_t first_chain;
  int32_t purpose;  // as core::Purpose numbers them
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

EFFEBM_HD Stream stream_of(const UniformsParams& p) {
  return make_stream(uint64_t(p.key[0]), uint64_t(p.key[1]) + uint64_t(p.offset),
                     Purpose(p.purpose));
}

// Returns (n + 1/2) 2^-52 for an integer n of 52 random bits, which a double holds exactly.
EFFEBM_HD double uniform(const Stream& stream, uint32_t chain) {
  const Words words = draw(stream, chain, 0);
  const uint64_t n = uint64_t(words.w[0] >> 6) << 26 | words.w[1] >> 6;
  return (double(n) + 0.5) * 0x1p-52;
}

}  // namespace effebm::inline EFFEBM_ISA::core

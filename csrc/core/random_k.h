// Random-k of a row: the k entries with the largest random words, times dim / k if it is unbiased.
#pragma once

#include "compressors.h"

namespace effebm::inline EFFEBM_ISA::core {

// The word's upper 30 bits as a positive normal float, so that Top-k can order words.
EFFEBM_HD float random_magnitude(uint32_t word) { return from_bits((word >> 2) + 0x00800000u); }

// The factor of the entries that are kept. (Where none are, there is nothing to multiply.)
template <class A>
EFFEBM_HD A random_k_factor(const CompressorParams& p, int64_t dim) {
  const bool scales = p.compressor == Compressor::random_k && p.compressor_size > 0;
  return scales ? divide(A(dim), A(p.compressor_size)) : A(1);
}

}  // namespace effebm::inline EFFEBM_ISA::core

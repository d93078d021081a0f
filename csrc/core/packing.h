// Compressed rows in less memory, without loss: Block-Sign as signs and scales, Top-k as values and
// indices.
#pragma once

#include "arith.h"
#include "block_sign.h"
#include "dtype.h"
#include "topk.h"

namespace effebm {

// Rows that Block-Sign has compressed, c (rows, dim), with blocks as core::Blocks has them. Bit i %
// 32 of word i / 32 of `signs` is the sign of entry i, of `zeros` whether it is +0.
struct SignsParams {
  DType dtype;  // float32 or float64
  int64_t rows, dim, block_size;
  const int64_t* block_offsets;  // or null
  int64_t n_blocks;              // of a row, also where there are no offsets
  void* c;                       // read by packing, written by unpacking
  uint32_t* signs;               // (rows, words)
  uint32_t* zeros;               // (rows, words); null to unpack rows without zeros
  void* scales;                  // (rows, n_blocks), the magnitudes of the blocks' entries
  int32_t* flags;                // of packing: some entry is zero, some is not of its block's scale
};

// Rows that Top-k has compressed, c (rows, dim): their entries whose bits are not zero, in order.
// A row of fewer than k entries repeats the last; a row without any has the entry 0 at index 0.
struct EntriesParams {
  DType dtype;  // float32 or float64
  int64_t rows, dim, k;
  const void* c;
  void* values;      // (rows, k)
  int32_t* indices;  // (rows, k)
  int32_t* flags;    // some row has more than k
};

constexpr int kWordBits = 32;

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

EFFEBM_HD Blocks blocks_of(const SignsParams& p) {
  return {p.dim, p.block_size, p.block_offsets, p.n_blocks};
}

EFFEBM_HD int64_t words_of(int64_t dim) { return (dim + kWordBits - 1) / kWordBits; }

// The magnitude of the first entry from c[begin] to c[end] that is not zero.
template <class A>
EFFEBM_HD A scale_of_packed(const A* c, int64_t begin, int64_t end) {
  while (begin < end && c[begin] == A(0)) ++begin;
  return begin < end ? core::abs(c[begin]) : A(0);
}

// Whether a sign and a scale can hold c; every NaN is one value.
template <class A>
EFFEBM_HD bool is_of_scale(A c, A scale) {
  return to_bits(c) == 0 || order_key(c) == order_key(scale);
}

template <class A>
EFFEBM_HD A unpacked(A scale, bool negative, bool zero) {
  return zero ? A(0) : negative ? -scale : scale;
}

// f(A()) for the types that a compressed row can have.
template <class F>
void dispatch_compute(DType dtype, const F& f) {
  if (dtype == DType::float64) return f(double());
  return f(float());
}

}  // namespace effebm::inline EFFEBM_ISA::core

// The compressors that the kernels know, and what a kernel is given of one.
#pragma once

#include "arith.h"
#include "natural.h"
#include "philox.h"

// f(name, Class, draws, what, least, most) for every compressor. `draws`: the compressor needs
// random words. `what` names its size, which lies between least and most for rows of `dim`. (The
// blocks of Block-Sign are checked where they are read, as offsets stand in for their size.)
//
// A compressor of rows looks at a row, or at a block of it, before it compresses an element: each
// device has its own code, ClassCompressor in cpu/ and ClassLaunch in cuda/. Two names may share a
// class.
#define EFFEBM_ROW_COMPRESSORS(f)                                                                \
  f(topk, Topk, false, "k", 0, dim)                                                              \
      f(block_sign, BlockSign, false, "block_size", INT64_MIN, INT64_MAX)                        \
          f(random_k, RandomK, true, "k", 0, dim) f(biased_random_k, RandomK, true, "k", 0, dim) \
              f(random_block, RandomBlock, true, "k", 0, dim)

// A compressor of elements looks at one element and its random word only: all devices share the
// class in core/name.h.
#define EFFEBM_ELEMENT_COMPRESSORS(f) f(natural, Natural, true, "mantissa_bits", 0, 22)

#define EFFEBM_COMPRESSORS(f) EFFEBM_ROW_COMPRESSORS(f) EFFEBM_ELEMENT_COMPRESSORS(f)

namespace effebm {

enum class Compressor : int {
  none,
#define EFFEBM_MEMBER(name, ...) name,
  EFFEBM_COMPRESSORS(EFFEBM_MEMBER)
#undef EFFEBM_MEMBER
};

// A compressor for rows, and the random numbers of the rows' chains.
struct CompressorParams {
  Compressor compressor;
  int64_t compressor_size;
  const int64_t* block_offsets;  // of Block-Sign, or null
  int64_t n_blocks;              // where there are offsets
  const int64_t* key;            // seed, offset; or null where nothing is drawn
  int64_t offset;                // added to the key's
  int64_t first_chain;
};

// out[r] = C(x[r]); rows of dim contiguous elements.
struct CompressParams : CompressorParams {
  DType dtype;
  int64_t rows, dim;
  const void* x;
  void* out;
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

// The stream of a purpose, or of the same purpose so many steps later.
EFFEBM_HD Stream stream_of(const CompressorParams& p, Purpose purpose, uint64_t later = 0) {
  if (!p.key) return {};
  const uint64_t offset = uint64_t(p.key[1]) + uint64_t(p.offset) + later;
  return make_stream(uint64_t(p.key[0]), offset, purpose);
}

EFFEBM_HD uint32_t chain_of(const CompressorParams& p, int64_t row) {
  return uint32_t(p.first_chain + row);
}

}  // namespace effebm::inline EFFEBM_ISA::core

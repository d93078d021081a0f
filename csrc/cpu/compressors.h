// The compressors of the CPU. A RowCompressor is built from the whole row; each thread then walks
// through its part of the row, chunk by chunk.
#pragma once

#include "block_sign.h"
#include "draws.h"
#include "random_block.h"
#include "random_k.h"
#include "topk.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

template <class T>
class NoCompressor {
 public:
  using A = Compute<T>;
  NoCompressor(const RowInput<T>&, int64_t, const CompressorParams&, int64_t, const Team&,
               Scratch&) {}

  class Walk {
   public:
    Walk(const NoCompressor&, int, int64_t) {}
    const A* compress(int64_t, int, const A* u, A*) { return u; }
  };
};

// A compressor of elements, each with its random word.
template <class T, template <class> class Element>
class ElementCompressor {
 public:
  using A = Compute<T>;
  ElementCompressor(const RowInput<T>&, int64_t, const CompressorParams& p, int64_t r, const Team&,
                    Scratch&)
      : element_(p.compressor_size), draws_(stream_of(p, Purpose::compression), chain_of(p, r)) {}

  class Walk {
   public:
    Walk(const ElementCompressor& whole, int, int64_t) : whole_(whole) {}

    const A* compress(int64_t at, int n, const A* u, A* room) {
      alignas(64) uint32_t words[kChunk];
      whole_.draws_.words(uint32_t(at / 4), (n + 3) / 4, words);
      const Element<A> element = whole_.element_;
      for (int i = 0; i < n; ++i) room[i] = element(u[i], words[i]);
      return room;
    }

   private:
    const ElementCompressor& whole_;
  };

 private:
  Element<A> element_;
  Draws draws_;
};

#define EFFEBM_ALIAS(name, Class, ...) \
  template <class T>                   \
  using Class##Compressor = ElementCompressor<T, Class>;
EFFEBM_ELEMENT_COMPRESSORS(EFFEBM_ALIAS)
#undef EFFEBM_ALIAS

// f.operator()<RowCompressor>() for the compressor.
template <class F>
void with_compressor(Compressor compressor, const F& f) {
  switch (compressor) {
    case Compressor::none:
      return f.template operator()<NoCompressor>();
#define EFFEBM_CASE(name, Class, ...) \
  case Compressor::name:              \
    return f.template operator()<Class##Compressor>();
      EFFEBM_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

// The arguments of the ops that compress, and their checks.
#pragma once

#include "../core/compressors.h"
#include "blocks.h"

namespace effebm::ops {

// Takes the arguments of a boxed call one after the other.
class Arguments {
 public:
  explicit Arguments(StableIValue* stack) : next_(stack) {}
  template <class T>
  T take() {
    return torch::stable::detail::to<T>(*next_++);
  }

 private:
  StableIValue* next_;
};

// Members initialise from top to bottom: the order of the schemas.
struct CompressorArguments {
  Arguments& from;
  Compressor compressor = Compressor(from.take<int64_t>());
  int64_t size = from.take<int64_t>();
  OptionalTensor block_offsets = from.take<OptionalTensor>();
};

// `Key`: a tensor, or one that may be left out.
template <class Key>
struct KeyArguments {
  Arguments& from;
  Key key = from.take<Key>();
  int64_t offset = from.take<int64_t>();
  int64_t first_chain = from.take<int64_t>();
};

inline void check_size(const char* what, int64_t size, int64_t least, int64_t most) {
  STD_TORCH_CHECK(size >= least && size <= most, what, ": expected ", least, " <= ", what,
                  " <= ", most, ", got ", size);
}

// A compressor of the rows of x, checked.
inline CompressorParams compressor_params(const Tensor& x, const CompressorArguments& a) {
  const int64_t dim = rows_of(x).dim;
  CompressorParams p{};
  p.compressor = a.compressor;
  p.compressor_size = a.size;
  switch (a.compressor) {
    case Compressor::none:
      return p;
#define EFFEBM_CASE(name, Class, draws, what, least, most) \
  case Compressor::name:                                   \
    check_size(what, a.size, least, most);                 \
    break;
      EFFEBM_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
    default:
      STD_TORCH_CHECK(false, "compressor: unknown code");
  }
  if (a.compressor == Compressor::block_sign) {
    const BlockArguments blocks = block_arguments(x, dim, a.size, a.block_offsets);
    p.block_offsets = blocks.offsets;
    p.n_blocks = blocks.count;
  }
  return p;
}

inline bool draws(Compressor compressor) {
#define EFFEBM_IF_DRAWS(name, Class, draws, ...) \
  if (compressor == Compressor::name) return draws;
  EFFEBM_COMPRESSORS(EFFEBM_IF_DRAWS)
#undef EFFEBM_IF_DRAWS
  return false;
}

inline void set_key(const Tensor& x, const Tensor& key, int64_t offset, int64_t first_chain,
                    CompressorParams& p) {
  check_chains(x, key, first_chain);
  p.key = key.const_data_ptr<int64_t>();
  p.offset = offset;
  p.first_chain = first_chain;
}

inline void add_key(const Tensor& x, const KeyArguments<Tensor>& a, CompressorParams& p) {
  set_key(x, a.key, a.offset, a.first_chain, p);
}

inline void add_key(const Tensor& x, const KeyArguments<OptionalTensor>& a, CompressorParams& p) {
  if (a.key) return set_key(x, *a.key, a.offset, a.first_chain, p);
  STD_TORCH_CHECK(!draws(p.compressor),
                  "key: expected a tensor, as the compressor draws random numbers");
}

}  // namespace effebm::ops

// In the order of the schemas. Sizes are SymInt, so that torch.compile need not recompile when they
// change.
#define EFFEBM_COMPRESSOR_SCHEMA \
  "int compressor=0, SymInt compressor_size=0, Tensor? block_offsets=None"
#define EFFEBM_KEY_SCHEMA "Tensor? key=None, SymInt offset=0, SymInt first_chain=0"

// The flat kernel: one thread for some neighbouring elements, as many threads as it takes, no loop.
// It asks for everything that it reads before it works on anything; the hardware's block scheduler
// keeps memory and arithmetic busy at the same time.
#pragma once

#include "block_sign_flat.cuh"
#include "elements.cuh"
#include "selection.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class Op, class Compression>
__global__ void __launch_bounds__(kThreads, Op::kBlocks)
    flat(typename Op::Params p, Compression compress, FlatIndex index) {
  using A = typename Op::A;
  constexpr int N = Op::N;
  const Place place = index.place<typename Op::Access>(p.dim);
  if (!Compression::kCollective && !Op::kHasSums && place.n == 0) return;
  typename Op::Input input = {};
  typename Op::State state = {};
  A u[N] = {}, c[N];
  if (place.n > 0) {
    input = Op::input(p, place);
    state = Op::state(p, place);
    Op::values(p, place, input, u);
  }
  if (Compression::kCollective || place.n > 0) compress(p, place, u, c);
  if constexpr (Op::kHasSums) {
    typename Op::Put terms = {};
    if (place.n > 0) terms = Op::put(p, place, input, state, u, c);
    Op::add_up(p, place, terms, index.unit());
  } else {
    if (place.n > 0) Op::put(p, place, input, state, u, c);
  }
}

// Any compression of a flat kernel, chosen at run time, in branches that all threads take alike.
// Steps with options and plain compression have one kernel for all, and a build fewer kernels.
class AnyCompression {
 public:
  static constexpr bool kCollective = true;

  AnyCompression(const KeepAll&) : which_(Which::all) {}
  AnyCompression(const SignInLanes& lanes) : which_(Which::lanes), lanes_(lanes) {}
  AnyCompression(const SignByScales& scales) : which_(Which::scales), scales_(scales) {}
  AnyCompression(const KeepSelected& kept) : which_(Which::selected), selected_(kept) {}
  AnyCompression(const KeepByWords& kept) : which_(Which::words), words_(kept) {}
  AnyCompression(const KeepBlock&) : which_(Which::block) {}
#define EFFEBM_CASE(name, Class, ...) \
  AnyCompression(const ByElement<Class>&) : which_(Which::name) {}
  EFFEBM_ELEMENT_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE

  int unit(int N) const { return which_ == Which::lanes ? lanes_.unit(N) : 1; }

  template <class A, class Params, int N>
  __device__ void operator()(const Params& p, const Place& place, const A (&u)[N],
                             A (&c)[N]) const {
    if (which_ == Which::lanes) return lanes_(p, place, u, c);
    if (place.n == 0) return;
    switch (which_) {
      case Which::scales:
        return scales_(p, place, u, c);
      case Which::selected:
        return selected_(p, place, u, c);
      case Which::words:
        return words_(p, place, u, c);
      case Which::block:
        return KeepBlock()(p, place, u, c);
#define EFFEBM_CASE(name, Class, ...) \
  case Which::name:                   \
    return ByElement<Class>()(p, place, u, c);
        EFFEBM_ELEMENT_COMPRESSORS(EFFEBM_CASE)
#undef EFFEBM_CASE
      default:
        return KeepAll()(p, place, u, c);
    }
  }

 private:
#define EFFEBM_MEMBER(name, ...) , name
  enum class Which {
    all,
    lanes,
    scales,
    selected,
    words,
    block EFFEBM_ELEMENT_COMPRESSORS(EFFEBM_MEMBER)
  };
#undef EFFEBM_MEMBER
  Which which_;
  SignInLanes lanes_ = {};
  SignByScales scales_ = {};
  KeepSelected selected_ = {};
  KeepByWords words_ = {};
};

template <class Op, class Compression>
void launch_flat(const typename Op::Params& p, const Compression& compress, int unit,
                 void* stream) {
  constexpr auto kernel = &flat<Op, Compression>;
  for_flat_parts(p.rows, p.dim, Op::N, unit, [&](const FlatIndex& index, unsigned blocks) {
    EFFEBM_LAUNCH(kernel, blocks, kThreads, stream, p, compress, index);
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

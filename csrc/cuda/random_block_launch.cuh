// Random-block: a flat kernel finds the block of each row from the key. A step in place touches the
// block only: its grid has threads for as many quads as a block may touch.
#pragma once

#include "flat.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The quads of a row from the first of its block on; the first quad of the row follows the last.
template <class Op>
__global__ void __launch_bounds__(kThreads, Op::kBlocks)
    block_of_rows(typename Op::Params p, FlatIndex index, int64_t quads) {
  using A = typename Op::A;
  using Access = typename Op::Access;
  Place place = index.place<Access>(p.dim);
  if (place.n == 0) return;
  const int64_t quad = RandomBlock(p, place.row, p.dim).start() / kQuad + place.begin / kQuad;
  place.begin = (quad < quads ? quad : quad - quads) * kQuad;
  place.at = place.row * p.dim + place.begin;
  place.n = Access::kVector ? kQuad : elements_left(p.dim - place.begin, kQuad);
  const auto input = Op::input(p, place);
  auto state = Op::state(p, place);
  A u[kQuad], c[kQuad];
  Op::values(p, place, input, u);
  KeepBlock()(p, place, u, c);
  Op::put(p, place, input, state, u, c);
}

template <class Family>
class RandomBlockLaunch {
 public:
  RandomBlockLaunch() = default;
  RandomBlockLaunch(const Family&, cuda::Workspace&) {}

  void run(const Family& family, void* stream) const {
    if constexpr (requires { family.moves_in_place(); })
      if (family.moves_in_place())
        return family.with_block_op([&](auto op) { launch_block<decltype(op)>(family.p, stream); });
    family.launch_flat(KeepBlock(), stream);
  }

 private:
  template <class Op, class Params>
  static void launch_block(const Params& p, void* stream) {
    const int64_t quads = (p.dim + kQuad - 1) / kQuad;
    // One quad more where the block begins within one, and one more where the row ends within one.
    const int64_t touched = std::min(quads, (p.compressor_size + kQuad - 1) / kQuad + 2);
    for_flat_parts(p.rows, touched * kQuad, Op::N, 1, [&](const FlatIndex& index, unsigned blocks) {
      EFFEBM_LAUNCH(&block_of_rows<Op>, blocks, kThreads, stream, p, index, quads);
    });
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

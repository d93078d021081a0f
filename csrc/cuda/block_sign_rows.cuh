// Block-Sign of blocks of entries that their threads hold in registers. Memory is read once. A
// block begins at a quad of its row, as it does if blocks have whole quads or are whole rows.
#pragma once

#include "../core/block_sign.h"
#include "flat_index.cuh"
#include "tile_sums.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// How threads share blocks of entries. A group of up to 1024 entries, of which the canonical sum is
// made, has `width` threads; a block of entries has `groups` of these.
struct BlockSignShape {
  int64_t size;    // entries of a block
  int64_t of_row;  // blocks of a row
  int width, groups;

  EFFEBM_HD int threads() const { return width * groups; }
};

constexpr int kMostGroups = 16, kGroupThreads = kSumWidth / (kBlockQuads * kQuad);

template <class Op>
__global__ void __launch_bounds__(kMostBlockThreads<typename Op::A>, 1)
    block_sign_rows(typename Op::Params p, BlockSignShape shape) {
  using A = typename Op::A;
  EFFEBM_SHARED(A, group_sums, kMostGroups);
  const int own = shape.threads(), thread = int(threadIdx.x) % own;
  const int64_t block = int64_t(blockIdx.x) * (int(blockDim.x) / own) + int(threadIdx.x) / own;
  const int64_t row = block / shape.of_row, begin = (block - row * shape.of_row) * shape.size;
  const int size = row < p.rows ? elements_left(p.dim - begin, int(shape.size)) : 0;
  const auto place_of = [&](int q) -> Place {
    const int group = thread / shape.width, in_group = thread % shape.width;
    const int at = group * kSumWidth + (q * shape.width + in_group) * kQuad;
    return {row, begin + at, row * p.dim + begin + at, elements_left(size - at, kQuad)};
  };
  typename Op::Input input[kBlockQuads];
  A u[kBlockQuads][kQuad] = {};
#pragma unroll
  for (int q = 0; q < kBlockQuads; ++q)
    if (const Place place = place_of(q); place.n > 0) input[q] = Op::input(p, place);
#pragma unroll
  for (int q = 0; q < kBlockQuads; ++q)
    if (const Place place = place_of(q); place.n > 0) Op::values(p, place, input[q], u[q]);
  // The quads of a thread are a fourth of the group apart, so they are added first.
  static_assert(kBlockQuads == 4);
  Terms<A> terms[1];
  for (int i = 0; i < kQuad; ++i)
    terms[0].of[i] =
        (core::abs(u[0][i]) + core::abs(u[2][i])) + (core::abs(u[1][i]) + core::abs(u[3][i]));
  A sum[1];
  tile_sums<kMostBlockThreads<A>>(terms, shape.width, sum);
  if (shape.groups > 1) {
    if (thread % shape.width == 0) group_sums[thread / shape.width] = sum[0];
    __syncthreads();
    const A of_group[1] = {lane() < shape.groups ? group_sums[lane()] : A(0)};
    sum[0] = lanes_sum(of_group, kWarpSize);
  }
  const A scale = divide(sum[0], A(size));
#pragma unroll
  for (int q = 0; q < kBlockQuads; ++q) {
    const Place place = place_of(opaque(q));
    if (place.n == 0) continue;
    typename Op::State state = Op::state(p, place);
    A c[kQuad];
    for (int i = 0; i < kQuad; ++i) c[i] = signed_scale(u[q][i], scale);
    Op::put(p, place, input[q], state, u[q], c);
  }
}

// Returns how threads share blocks of so many entries, or none if they do not fit.
template <class A>
BlockSignShape block_sign_shape(int64_t dim, int64_t block_size) {
  if (block_size < dim && (block_size == 0 || block_size % kQuad != 0)) return {};
  const int64_t size = std::min(block_size, dim);
  if (size > kMostBlockThreads<A> * kBlockQuads * kQuad) return {};
  BlockSignShape shape = {size, (dim + size - 1) / size, 1, int(groups_of(size))};
  while (shape.width < kGroupThreads && shape.width * kBlockQuads * kQuad < size) shape.width *= 2;
  return shape;
}

template <class Op>
void launch_block_sign_rows(const typename Op::Params& p, const BlockSignShape& shape,
                            void* stream) {
  constexpr auto kernel = &block_sign_rows<Op>;
  const int threads = shape.groups > 1 ? shape.threads() : kThreads;
  const int64_t at_once = threads / shape.threads(), blocks = p.rows * shape.of_row;
  EFFEBM_LAUNCH(kernel, unsigned((blocks + at_once - 1) / at_once), threads, stream, p, shape);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

// The compressors of one row. Each is built from the whole row, then asked for its output chunk by
// chunk, in order: apply(begin, n, u, c) turns u, the input of elements begin .. begin + n - 1,
// into the compressed c.
#pragma once

#include "../core/block_sign.h"
#include "../core/topk.h"
#include "chunk.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

// Exact selection of the k largest keys by counting digits from the top: linear on every input.
template <class T>
Selection<Compute<T>> select_topk(const RowInput<T>& row, int64_t dim, int64_t k) {
  using A = Compute<T>;
  constexpr int kDigit = 11;
  if (k == 0) return {KeyOf<A>::infinity + 1, 0};
  if (k == dim) return {0, dim};
  Key<A> prefix = 0;
  int64_t wanted = k;
  for (int top = KeyOf<A>::bits; top > 0;) {
    const int shift = top > kDigit ? top - kDigit : 0;
    const Key<A> mask = (Key<A>(1) << (top - shift)) - 1;
    int64_t count[1 << kDigit] = {};
    for (int64_t begin = 0; begin < dim; begin += kChunk) {
      const int n = int(dim - begin < kChunk ? dim - begin : kChunk);
      A u[kChunk];
      row.load(begin, n, u);
      for (int i = 0; i < n; ++i) {
        const Key<A> key = order_key(u[i]);
        if (key >> top == prefix) ++count[key >> shift & mask];
      }
    }
    Key<A> digit = mask;
    while (count[digit] < wanted) wanted -= count[digit--];
    prefix = prefix << (top - shift) | digit;
    top = shift;
  }
  return {prefix, wanted};
}

template <class T>
class TopkRow {
 public:
  using A = Compute<T>;
  TopkRow(const RowInput<T>& row, int64_t dim, int64_t k) : selection_(select_topk(row, dim, k)) {}

  void apply(int64_t, int n, const A* u, A* c) {
    for (int i = 0; i < n; ++i) {
      const Key<A> key = order_key(u[i]);
      bool keep = key > selection_.threshold;
      if (key == selection_.threshold && selection_.ties > 0) {
        keep = true;
        --selection_.ties;
      }
      c[i] = keep ? u[i] : A(0);
    }
  }

 private:
  Selection<A> selection_;
};

template <class T>
class BlockSignRow {
 public:
  using A = Compute<T>;
  BlockSignRow(const RowInput<T>& row, int64_t dim, int64_t block_size)
      : row_(row), dim_(dim), block_size_(block_size) {}

  void apply(int64_t begin, int n, const A* u, A* c) {
    for (int i = 0; i < n;) {
      if (begin + i == block_end_) start_block();
      const int64_t left = block_end_ - begin;
      const int stop = int(left < n ? left : n);
      for (; i < stop; ++i) c[i] = signed_scale(u[i], scale_);
    }
  }

 private:
  void start_block() {
    const int64_t begin = block_end_;
    const int64_t size = dim_ - begin < block_size_ ? dim_ - begin : block_size_;
    const A sum = canonical_sum<A>(begin, size, [this](int64_t at, int n, A* terms) {
      row_.load(at, n, terms);
      for (int i = 0; i < n; ++i) terms[i] = core::abs(terms[i]);
    });
    block_end_ = begin + size;
    scale_ = core::divide(sum, A(size));
  }

  RowInput<T> row_;
  int64_t dim_, block_size_;
  int64_t block_end_ = 0;
  A scale_ = 0;
};

// out = C(values), row by row.
template <template <class> class Row, class Params>
void compress_rows(const Params& p, int64_t size, int64_t begin_row, int64_t end_row) {
  const KeepDenormals keep_denormals;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    using A = Compute<T>;
    for (int64_t r = begin_row; r < end_row; ++r) {
      const RowInput<T> row{static_cast<const T*>(p.x) + r * p.dim};
      T* out = static_cast<T*>(p.out) + r * p.dim;
      Row<T> compressor(row, p.dim, size);
      for (int64_t begin = 0; begin < p.dim; begin += kChunk) {
        const int n = int(p.dim - begin < kChunk ? p.dim - begin : kChunk);
        A u[kChunk], c[kChunk];
        row.load(begin, n, u);
        compressor.apply(begin, n, u, c);
        for (int i = 0; i < n; ++i) out[begin + i] = narrow<T>(c[i]);
      }
    }
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

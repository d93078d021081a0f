// The fused step: every chunk of a row is read, compressed, moved, perturbed and written while it
// is in the first-level cache.
#include "../core/langevin_step.h"

#include "compress.h"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

// No compression, in the shape of the compressors.
template <class T>
class WholeRow {
 public:
  using A = Compute<T>;
  WholeRow(const RowInput<T>&, int64_t, int64_t) {}
  void apply(int64_t, int n, const A* u, A* c) {
    for (int i = 0; i < n; ++i) c[i] = u[i];
  }
};

template <class A>
void apply_bounds(Bounds bounds, A lower, A upper, int n, A* v) {
  if (bounds == Bounds::clamp)
    for (int i = 0; i < n; ++i) v[i] = clamp(v[i], lower, upper);
  if (bounds == Bounds::reflect)
    for (int i = 0; i < n; ++i) v[i] = reflect(v[i], lower, upper);
}

template <class T, template <class> class Row>
void step_row(const LangevinStepParams& p, const Stream& stream, int64_t r) {
  using A = Compute<T>;
  const T* x = static_cast<const T*>(p.x) + r * p.dim;
  T* out = static_cast<T*>(p.out) + r * p.dim;
  A* residual = p.residual ? static_cast<A*>(p.residual) + r * p.dim : nullptr;
  const RowInput<T> input{static_cast<const T*>(p.grad) + r * p.dim, residual,
                          p.clip == Clip::value, A(p.clip_limit)};
  const ChainScalars<A> scalars = chain_scalars<A>(p, r);
  const A lower = storable<T>(p.lower), upper = storable<T>(p.upper);
  const uint32_t chain = uint32_t(p.first_chain + r);

  Row<T> compressor(input, p.dim, p.compressor_size);
  for (int64_t begin = 0; begin < p.dim; begin += kChunk) {
    const int n = int(p.dim - begin < kChunk ? p.dim - begin : kChunk);
    A u[kChunk], c[kChunk], v[kChunk];
    input.load(begin, n, u);
    compressor.apply(begin, n, u, c);
    if (residual)
      for (int i = 0; i < n; ++i) residual[begin + i] = u[i] - c[i];
    for (int i = 0; i < n; ++i) v[i] = move(widen(x[begin + i]), c[i], scalars.half_step);
    if (scalars.noise_std != 0) {
      float normals[kChunk];
      fill_normals(stream, chain, begin / 4, (n + 3) / 4, normals);
      for (int i = 0; i < n; ++i) v[i] = fma(scalars.noise_std, A(normals[i]), v[i]);
    }
    apply_bounds(p.bounds, lower, upper, n, v);
    for (int i = 0; i < n; ++i) out[begin + i] = narrow<T>(v[i]);
  }
}

template <class T>
void step_rows(const LangevinStepParams& p, int64_t begin, int64_t end) {
  const uint64_t offset = uint64_t(p.key[1]) + uint64_t(p.offset);
  const Stream stream = make_stream(uint64_t(p.key[0]), offset, Purpose::noise);
  for (int64_t r = begin; r < end; ++r) {
    switch (p.compressor) {
      case Compressor::none:
        step_row<T, WholeRow>(p, stream, r);
        break;
      case Compressor::topk:
        step_row<T, TopkRow>(p, stream, r);
        break;
      case Compressor::block_sign:
        step_row<T, BlockSignRow>(p, stream, r);
        break;
    }
  }
}

}  // namespace

void langevin_step(const LangevinStepParams& p, int64_t begin, int64_t end) {
  const KeepDenormals keep_denormals;
  dispatch(p.dtype, [&](auto zero) { step_rows<decltype(zero)>(p, begin, end); });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

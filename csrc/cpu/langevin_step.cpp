// The fused step: every chunk of a row is read, compressed, moved, perturbed and written while it
// is in the first-level cache.
#include "../core/langevin_step.h"

#include "block_sign.h"
#include "noise.h"
#include "step_sums.h"
#include "topk.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

// No compression, with the interface of a RowCompressor.
template <class T>
class NoCompressor {
 public:
  using A = Compute<T>;
  NoCompressor(const RowInput<T>&, int64_t, int64_t, const Team&, Scratch&) {}

  class Walk {
   public:
    Walk(const NoCompressor&, int, int64_t) {}
    const A* compress(int64_t, int, const A* u, A*) { return u; }
  };
};

// The end of the step for n elements: x moves along c.
template <class T>
class Mover {
 public:
  using A = Compute<T>;

  Mover(const LangevinStepParams& p, const Stream& stream, int64_t r)
      : scalars_(chain_scalars<A>(p, r)),
        noise_(stream, uint32_t(p.first_chain + r)),
        bounds_(p.bounds),
        lower_(storable<T>(p.lower)),
        upper_(storable<T>(p.upper)) {}

  void move(int64_t at, int n, const T* x, const A* c, T* out) const {
    const A half_step = scalars_.half_step, noise_std = scalars_.noise_std;
    if (noise_std == 0) {
      bound(n, out, [x, c, half_step](int i) { return core::move(widen(x[i]), c[i], half_step); });
      return;
    }
    alignas(64) float room[kChunk];
    noise_.fill(uint32_t(at / 4), (n + 3) / 4, room);
    const float* normals = room;
    bound(n, out, [x, c, half_step, noise_std, normals](int i) {
      return fma(noise_std, A(normals[i]), core::move(widen(x[i]), c[i], half_step));
    });
  }

 private:
  // One loop for every kind of bounds, so that each is vector code; for that, all that it reads is
  // a local variable.
  template <class F>
  void bound(int n, T* out, const F value) const {
    const A lower = lower_, upper = upper_;
    switch (bounds_) {
      case Bounds::none:
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[i] = narrow<T>(value(i));
        break;
      case Bounds::clamp:
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[i] = narrow<T>(clamp(value(i), lower, upper));
        break;
      case Bounds::reflect:
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[i] = narrow<T>(reflect(value(i), lower, upper));
        break;
    }
  }

  ChainScalars<A> scalars_;
  Noise noise_;
  Bounds bounds_;
  A lower_, upper_;
};

template <class T, template <class> class RowCompressor, class Options>
void step_rows(const LangevinStepParams& p, const Options& options, const Threads& threads) {
  using A = Compute<T>;
  const Stream stream = noise_stream(p);
  for_rows(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch& scratch) {
    const T* x = static_cast<const T*>(p.x) + r * p.dim;
    T* out = static_cast<T*>(p.out) + r * p.dim;
    A* residual = p.residual ? static_cast<A*>(p.residual) + r * p.dim : nullptr;
    A* drift = p.drift ? static_cast<A*>(p.drift) + r * p.dim : nullptr;
    const T* grad = static_cast<const T*>(p.grad) + r * p.dim;
    A limit = A(p.clip_limit);
    if (p.clip == Clip::norm) limit = norm_scale_of(grad, p.dim, limit, team, scratch);
    const RowInput<T> input{grad, residual, p.clip, limit};
    const Mover<T> mover(p, stream, r);
    const RowCompressor<T> compressor(input, p.dim, options, team, scratch);
    const StepSums<T> sums(p, r, input, scratch);
    team.run(p.dim, kChunk, [&](int part, int64_t begin, int64_t end) {
      typename RowCompressor<T>::Walk walk(compressor, part, begin);
      for_chunks(begin, end, [&](int64_t at, int n) {
        A buffer[kChunk], room[kChunk];
        const A* u = input.load(at, n, buffer);
        const A* c = walk.compress(at, n, u, room);
        if (residual)
          for (int i = 0; i < n; ++i) residual[at + i] = u[i] - c[i];
        if (drift) std::copy(c, c + n, drift + at);
        sums.add_gradient(at, n);
        if (p.x) mover.move(at, n, x + at, c, out + at);
        sums.add_move(at, n, c);
      });
    });
    sums.finish();
  });
}

}  // namespace

void langevin_step(const LangevinStepParams& p, const Execution& on) {
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    switch (p.compressor) {
      case Compressor::none:
        return step_rows<T, NoCompressor>(p, 0, on.threads);
      case Compressor::topk:
        return step_rows<T, TopkCompressor>(p, p.compressor_size, on.threads);
      case Compressor::block_sign:
        return step_rows<T, BlockSignCompressor>(p, blocks_of(p), on.threads);
    }
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

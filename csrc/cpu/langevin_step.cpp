// The fused step: every chunk of a row is read, compressed, moved, perturbed and written while it
// is in the first-level cache.
#include "../core/langevin_step.h"

#include <optional>

#include "compressors.h"
#include "step_sums.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {
namespace {

// The end of the step for n elements: x moves along c.
template <class T>
class Mover {
 public:
  using A = Compute<T>;

  Mover(const LangevinStepParams& p, int64_t r)
      : p_(p),
        row_(r),
        scalars_(chain_scalars<A>(p, r)),
        chain_(chain_of(p, r)),
        noise_(stream_of(p, Purpose::noise), chain_),
        lower_(storable<T>(p.lower)),
        upper_(storable<T>(p.upper)) {
    if (core::moves_block(p)) block_.emplace(p, r, p.dim);
  }

  // f(at, n) for chunks of [begin, end); where this asks for those of a block only, for the quads
  // that the block touches.
  template <class F>
  void for_moving(int64_t begin, int64_t end, bool block_only, const F& f) const {
    if (!block_only) return for_chunks(begin, end, f);
    block_->for_parts(begin, end,
                      [&](int64_t first, int64_t last) { for_chunks(first / 4 * 4, last, f); });
  }

  bool moves_block() const { return block_.has_value(); }

  void move(int64_t at, int n, const T* x, const A* c, T* out) const {
    if (!block_) return move_all(at, n, x, c, out);
    if (out != x) std::copy_n(x, n, out);
    block_->for_parts(at, at + n, [&](int64_t begin, int64_t end) {
      const int64_t quad = begin / 4 * 4, from = quad - at;
      T moved[kChunk];
      move_all(quad, int(end - quad), x + from, c + from, moved);
      std::copy(moved + (begin - quad), moved + (end - quad), out + (begin - at));
    });
  }

 private:
  void move_all(int64_t at, int n, const T* x, const A* c, T* out) const {
    if (by_element(p_)) return move_by_element(at, n, x, c, out);
    const A half_step = scalars_.half_step, noise_std = scalars_.noise_std;
    if (noise_std == 0) {
      bound(at, n, out,
            [x, c, half_step](int i) { return core::move(widen(x[i]), c[i], half_step); });
      return;
    }
    alignas(64) float room[kChunk];
    const float* normals = draw_normals(at, n, room);
    bound(at, n, out, [x, c, half_step, noise_std, normals](int i) {
      return fma(noise_std, A(normals[i]), core::move(widen(x[i]), c[i], half_step));
    });
  }

  void move_by_element(int64_t at, int n, const T* x, const A* c, T* out) const {
    alignas(64) float room[kChunk];
    ChainScalars<A> scalars[kChunk];
    const float* normals = draw_normals(at, n, room);
    for (int i = 0; i < n; ++i) scalars[i] = chain_scalars<A>(p_, row_, at + i);
    bound(at, n, out, [x, c, &scalars, normals](int i) {
      return core::move(widen(x[i]), c[i], scalars[i], normals[i]);
    });
  }

  const float* draw_normals(int64_t at, int n, float* normals) const {
    noise_.normals(uint32_t(at / 4), (n + 3) / 4, normals);
    if (p_.averaged_noise) add_next_normals(at, n, normals);
    return normals;
  }

  void add_next_normals(int64_t at, int n, float* normals) const {
    alignas(64) float next[kChunk];
    const Draws draws(stream_of(p_, Purpose::noise, 1), chain_);
    draws.normals(uint32_t(at / 4), (n + 3) / 4, next);
    for (int i = 0; i < n; ++i) normals[i] += next[i];
  }

  template <class F>
  void bound(int64_t at, int n, T* out, const F& value) const {
    if constexpr (sizeof(T) == 2) {
      if (p_.stochastic_rounding) {
        alignas(64) uint32_t room[kChunk];
        const Draws draws(stream_of(p_, Purpose::rounding), chain_);
        draws.words(uint32_t(at / 4), (n + 3) / 4, room);
        const uint32_t* words = room;
        return bound(n, out, value,
                     [words](A v, int i) { return round_at_random<T>(v, words[i]); });
      }
    }
    bound(n, out, value, [](A v, int) { return narrow<T>(v); });
  }

  // One loop for every kind of bounds, so that each is vector code; for that, all that it reads is
  // a local variable.
  template <class F, class G>
  void bound(int n, T* out, const F value, const G stored) const {
    const A lower = lower_, upper = upper_;
    switch (p_.bounds) {
      case Bounds::none:
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[i] = stored(value(i), i);
        break;
      case Bounds::clamp:
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[i] = stored(clamp(value(i), lower, upper), i);
        break;
      case Bounds::reflect:
        EFFEBM_INDEPENDENT
        for (int i = 0; i < n; ++i) out[i] = stored(reflect(value(i), lower, upper), i);
        break;
    }
  }

  const LangevinStepParams& p_;
  int64_t row_;
  ChainScalars<A> scalars_;
  uint32_t chain_;
  Draws noise_;
  A lower_, upper_;
  std::optional<RandomBlock> block_;  // what moves, or nothing: all moves
};

template <class T, template <class> class RowCompressor>
void step_rows(const LangevinStepParams& p, const Threads& threads) {
  using A = Compute<T>;
  for_rows(p.rows, p.dim, threads, [&](int64_t r, const Team& team, Scratch& scratch) {
    const T* x = static_cast<const T*>(p.x) + r * p.dim;
    T* out = static_cast<T*>(p.out) + r * p.dim;
    A* residual = p.residual ? static_cast<A*>(p.residual) + r * p.dim : nullptr;
    A* drift = p.drift ? static_cast<A*>(p.drift) + r * p.dim : nullptr;
    const T* grad = static_cast<const T*>(p.grad) + r * p.dim;
    A limit = A(p.clip_limit);
    if (p.clip == Clip::norm) limit = norm_scale_of(grad, p.dim, limit, team, scratch);
    const RowInput<T> input{grad, residual, p.clip, limit};
    const Mover<T> mover(p, r);
    const RowCompressor<T> compressor(input, p.dim, p, r, team, scratch);
    const StepSums<T> sums(p, r, input, scratch);
    // What rests need not be touched. No quad may be in both ends of a block that wraps round.
    const bool block_only = mover.moves_block() && p.x == p.out && !residual && !drift &&
                            p.row_sums_of == RowSums::none && p.dim - p.compressor_size >= 4;
    team.run(p.dim, kChunk, [&](int part, int64_t begin, int64_t end) {
      typename RowCompressor<T>::Walk walk(compressor, part, begin);
      mover.for_moving(begin, end, block_only, [&](int64_t at, int n) {
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
    with_compressor(p.compressor, [&]<template <class> class RowCompressor>() {
      step_rows<T, RowCompressor>(p, on.threads);
    });
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels

// What flat kernels and row kernels do to elements for a Langevin step: u is the clipped gradient
// plus the residual, and put() moves the state. compress_op.cuh describes the form of an Op.
#pragma once

#include "../core/langevin_step.h"
#include "../core/normal.h"
#include "access.cuh"
#include "flat_index.cuh"
#include "tile_sums.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The parameters of a step, with scalars in the compute type, and with what earlier kernels found.
template <class T>
struct StepParams : LangevinStepParams {
  using A = Compute<T>;
  ChainScalars<A> scalars;  // of all chains, unless per_chain
  bool per_chain, per_element;
  // Each says for several rare options that one is asked for, so that other steps ask once only.
  bool own_noise;  // the noise is averaged, or elements have scalars of their own
  bool finishes;   // something happens to a state after its move: bounds, rounding, a block
  A limit, low, high;
  A* norm_scales;  // one per row, for clip by norm; or null
  A* group_sums;   // (rows, kRowSums, groups), for sums over rows

  explicit StepParams(const LangevinStepParams& p)
      : LangevinStepParams(p),
        scalars{},
        per_chain(p.step_sizes.data || p.noise_stds.data),
        per_element(by_element(p)),
        own_noise(p.averaged_noise || per_element),
        finishes(p.bounds != Bounds::none || p.stochastic_rounding || moves_block(p)),
        limit(A(p.clip_limit)),
        low(storable<T>(p.lower)),
        high(storable<T>(p.upper)),
        norm_scales(nullptr),
        group_sums(nullptr) {
    if (!per_chain) scalars = chain_scalars<A>(p, 0);  // square roots have the bits of the device
  }
};

// plain: none of the options (residual, clip, bounds, stochastic rounding, averaged noise), so that
// a thread has few registers.
// full: these are asked for at run time, in branches that all threads take alike.
// reports: full, and the step reports its drift or sums over rows, also where there is no state and
// it only reports; or elements have step sizes or noise of their own, or a random block moves only.
// block: full, and a random block moves only.
enum class StepKind { plain, full, reports, block };

template <class T, class Access_, StepKind kKind>
struct StepOp {
  using A = Compute<T>;
  using Params = StepParams<T>;
  using Access = Access_;
  static constexpr int N = Access::kElements;
  static constexpr bool kPlain = kKind == StepKind::plain, kHasSums = kKind == StepKind::reports;
  static constexpr bool kMovesBlock = kHasSums || kKind == StepKind::block;
  // A multiprocessor has 65536 registers. Doubles take two; eight elements take more than four do,
  // and so do elements that are reached one by one. On sm_100 all options take a few more.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  static constexpr int kBlocksOfFull = 5;
#else
  static constexpr int kBlocksOfFull = 6;
#endif
  static constexpr int kBlocksOfFloats = kMovesBlock                     ? 4
                                         : N > kQuad || !Access::kVector ? 5
                                         : kPlain                        ? 8
                                                                         : kBlocksOfFull;
  static constexpr int kBlocks = kBlocksOfFloats * int(sizeof(float)) / int(sizeof(A));

  struct Input {
    T grad[N];
    A residual[N];
  };

  static __device__ Input input(const Params& p, const Place& place) {
    Input in = {};
    load<Access>(static_cast<const T*>(p.grad) + place.at, place.n, in.grad);
    if (!kPlain && p.residual)
      load<Access>(static_cast<const A*>(p.residual) + place.at, place.n, in.residual);
    return in;
  }

  struct State {
    T x[N];
    A delta[N];  // where there is no x
    ChainScalars<A> scalars;
    float noise[N];
  };

  static __device__ State state(const Params& p, const Place& place) {
    State s;
    for (int i = 0; i < N; ++i) s.x[i] = T{};
    if (kHasSums && !p.x) {
      for (int i = 0; i < N; ++i) s.delta[i] = A(0);
      if (p.delta) load<Access>(static_cast<const A*>(p.delta) + place.at, place.n, s.delta);
      return s;
    }
    load<Access>(static_cast<const T*>(p.x) + place.at, place.n, s.x);
    s.scalars = p.per_chain ? chain_scalars<A>(p, place.row) : p.scalars;
    if (has_noise(p, s)) draw_noise<false>(p, place, s.noise);
    return s;
  }

  static __device__ void values(const Params& p, const Place& place, const Input& in, A (&u)[N]) {
    for (int i = 0; i < N; ++i) u[i] = widen(in.grad[i]);
    if constexpr (!kPlain) {
      if (p.clip != Clip::none) {
        const A limit = limit_of(p, place.row);
        for (int i = 0; i < N; ++i) u[i] = clipped(p.clip, u[i], limit);
      }
      if (p.residual)
        for (int i = 0; i < N; ++i) u[i] = u[i] + in.residual[i];
    }
  }

  static __device__ A value(const Params& p, int64_t row, int64_t i) {
    const int64_t at = row * p.dim + i;
    const A g = clipped(p.clip, A(widen(static_cast<const T*>(p.grad)[at])), limit_of(p, row));
    return p.residual ? g + static_cast<const A*>(p.residual)[at] : g;
  }

  struct NoTerms {};
  struct RowTerms {
    Terms<A> of[kRowSums];
  };
  using Put = std::conditional_t<kHasSums, RowTerms, NoTerms>;

  static __device__ Put put(const Params& p, const Place& place, const Input& in, State& s,
                            const A (&u)[N], const A (&c)[N]) {
    if (!kPlain && p.residual) {
      A lost[N];
      for (int i = 0; i < N; ++i) lost[i] = u[i] - c[i];
      store<Access>(static_cast<A*>(p.residual) + place.at, place.n, lost);
    }
    if (!kHasSums || p.x) move_state(p, place, s, c);
    if constexpr (kHasSums) {
      if (p.drift) store<Access>(static_cast<A*>(p.drift) + place.at, place.n, c);
      return terms_of(p, place, in, s, c);
    } else {
      return {};
    }
  }

  static __device__ void add_up(const Params& p, const Place& place, const Put& terms, int width) {
    if (p.row_sums_of == RowSums::none) return;
    A sums[kRowSums];
    tile_sums(terms.of, width, sums);
    if (!begins_tile(place, width)) return;
    const int64_t groups = groups_of(p.dim), group = place.begin / kSumWidth;
    for (int s = 0; s < kRowSums; ++s)
      p.group_sums[(place.row * kRowSums + s) * groups + group] = sums[s];
  }

 private:
  static __device__ A limit_of(const Params& p, int64_t row) {
    return p.norm_scales ? p.norm_scales[row] : p.limit;
  }

  static __device__ bool has_noise(const Params& p, const State& s) {
    return s.scalars.noise_std != A(0) || (kHasSums && p.per_element);
  }

  // Draws the noise of the step, or adds the noise of the next one.
  template <bool kNext>
  static __device__ void draw_noise(const Params& p, const Place& place, float (&noise)[N]) {
    const Stream stream = stream_of(p, Purpose::noise, kNext);
    const uint32_t chain = chain_of(p, place.row), quad = uint32_t(place.begin / kQuad);
    for (int q = 0; q < N / kQuad; ++q) {
      float four[kQuad];
      normal4(stream, chain, quad + uint32_t(q), four);
      for (int i = 0; i < kQuad; ++i)
        noise[q * kQuad + i] = kNext ? noise[q * kQuad + i] + four[i] : four[i];
    }
  }

  static __device__ void move_by_chain(const State& s, const A (&c)[N], A (&moved)[N]) {
    for (int i = 0; i < N; ++i) moved[i] = move(widen(s.x[i]), c[i], s.scalars.half_step);
    if (s.scalars.noise_std != A(0))
      for (int i = 0; i < N; ++i) moved[i] = fma(s.scalars.noise_std, A(s.noise[i]), moved[i]);
  }

  static __device__ void move_by_element(const Params& p, const Place& place, const State& s,
                                         const A (&c)[N], A (&moved)[N]) {
    for (int i = 0; i < N; ++i) {
      const int64_t element = place.begin + (i < place.n ? i : 0);
      moved[i] = move(A(widen(s.x[i])), c[i], chain_scalars<A>(p, place.row, element), s.noise[i]);
    }
  }

  // Moves the state, and sets delta to the difference where it is reported.
  static __device__ void move_state(const Params& p, const Place& place, State& s,
                                    const A (&c)[N]) {
    A moved[N];
    if (!kPlain && p.own_noise) {
      // Here, where the input is in no register any more.
      if (p.averaged_noise && has_noise(p, s)) draw_noise<true>(p, place, s.noise);
      if (kHasSums && p.per_element)
        move_by_element(p, place, s, c, moved);
      else
        move_by_chain(s, c, moved);
    } else {
      move_by_chain(s, c, moved);
    }
    T v[N];
    for (int i = 0; i < N; ++i) v[i] = narrow<T>(moved[i]);
    if constexpr (!kPlain)
      if (p.finishes) finish(p, place, s, moved, v);
    store<Access>(static_cast<T*>(p.out) + place.at, place.n, v);
    if constexpr (kHasSums)
      for (int i = 0; i < N; ++i) s.delta[i] = widen(v[i]) - widen(s.x[i]);
  }

  // Sets v to the state after the move: within the bounds, rounded, and as it was beside a block.
  static __device__ void finish(const Params& p, const Place& place, const State& s, A (&moved)[N],
                                T (&v)[N]) {
    if (p.bounds == Bounds::clamp)
      for (int i = 0; i < N; ++i) moved[i] = clamp(moved[i], p.low, p.high);
    else if (p.bounds == Bounds::reflect)
      for (int i = 0; i < N; ++i) moved[i] = reflect(moved[i], p.low, p.high);
    for (int i = 0; i < N; ++i) v[i] = narrow<T>(moved[i]);
    if constexpr (sizeof(T) == 2)
      if (p.stochastic_rounding) round_at_random_by(p, place, moved, v);
    if (kMovesBlock && moves_block(p)) {
      const RandomBlock block(p, place.row, p.dim);
      for (int i = 0; i < N; ++i) v[i] = block.holds(place.begin + i) ? v[i] : s.x[i];
    }
  }

  static __device__ void round_at_random_by(const Params& p, const Place& place,
                                            const A (&moved)[N], T (&v)[N]) {
    static_assert(N == kQuad, "a thread draws the words of one quad");
    const Words words = draw(stream_of(p, Purpose::rounding), chain_of(p, place.row),
                             uint32_t(place.begin / kQuad));
    for (int i = 0; i < N; ++i) v[i] = round_at_random<T>(moved[i], words.w[i]);
  }

  static __device__ RowTerms terms_of(const Params& p, const Place& place, const Input& in,
                                      const State& s, const A (&c)[N]) {
    RowTerms terms = {};
    if (p.row_sums_of == RowSums::none) return terms;
    const A limit = limit_of(p, place.row);
    const bool moved = p.x || p.delta;  // if not, the sum is 0 for any drift
    for (int i = 0; i < N; ++i) {
      if (i >= place.n) continue;
      const A g = widen(in.grad[i]);
      const bool statistics = p.row_sums_of == RowSums::statistics;
      terms.of[0].of[i] = statistics ? term(g, g) : moved ? term(c[i], s.delta[i]) : A(0);
      terms.of[1].of[i] = statistics ? A(is_clipped(p.clip, g, limit)) : term(c[i], c[i]);
    }
    return terms;
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

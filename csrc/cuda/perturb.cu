// The perturbed pair. A warp takes a group of 1024 elements of a row and draws their normals for
// the row's norm, and again for the values. One launch is enough for rows of one group.
#include "../core/normal.h"
#include "../core/perturb.h"
#include "join_groups.cuh"
#include "kernels.h"
#include "workspace.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The terms of a lane's four elements.
template <class A>
struct Terms {
  A of[kQuad];
  __device__ Terms operator+(const Terms& other) const {
    Terms sum;
    for (int i = 0; i < kQuad; ++i) sum.of[i] = of[i] + other.of[i];
    return sum;
  }
};

// Returns the halving sum of a group to every lane of a warp, all of which call it. Lane l holds
// the quads l, l + 32, ..., l + 7 * 32: halves down to 128 are added within a lane, down to 4
// between lanes, and the last two within a quad. held(begin) gives the terms of the quad at that
// position and is called once.
template <class A, class Held>
__device__ A quads_sum(const Held& held) {
  constexpr int kBits = 3;
  static_assert(kWarpQuads << kBits == kSumWidth);
  Terms<A> sum =
      lane_tree<Terms<A>, kBits>([&](int j) { return held(j * kWarpQuads + lane() * kQuad); });
  for (int half = kWarpSize / 2; half >= 1; half /= 2)
    for (int i = 0; i < kQuad; ++i)
      sum.of[i] = sum.of[i] + __shfl_down_sync(kAllLanes, sum.of[i], half);
  return __shfl_sync(kAllLanes, (sum.of[0] + sum.of[2]) + (sum.of[1] + sum.of[3]), 0);
}

// A group of 1024 elements of a row, by its number among the groups of all rows.
struct Group {
  int64_t row, begin;
  __device__ Group(int64_t number, int64_t groups)
      : row(number / groups), begin((number - row * groups) * kSumWidth) {}
  // Returns how many elements of the row are in the quad at this position of the group.
  __device__ int size(int64_t dim, int quad) const {
    const int64_t left = dim - begin - quad;
    return left <= 0 ? 0 : left < kQuad ? int(left) : kQuad;
  }
};

// Calls f(number) for every group, with all lanes of a warp.
template <class F>
__device__ void for_groups(int64_t all, const F& f) {
  for (int64_t g = int64_t(blockIdx.x) * kWarps + warp(); g < all; g += int64_t(gridDim.x) * kWarps)
    f(g);
}

// Returns the sum of squares of a group's directions.
template <class A>
__device__ A sum_of_squares(const PerturbParams& p, const Group& group) {
  const Stream directions = stream_of(p, Purpose::directions);
  return quads_sum<A>([&](int quad) {
    Terms<A> terms = {};
    const int n = group.size(p.dim, quad);
    if (n == 0) return terms;
    float g[kQuad];
    normal4(directions, uint32_t(p.first_chain + group.row), uint32_t((group.begin + quad) / kQuad),
            g);
    for (int i = 0; i < kQuad; ++i) terms.of[i] = i < n ? term(A(g[i]), A(g[i])) : A(0);
    return terms;
  });
}

template <class A>
__global__ void __launch_bounds__(kThreads) direction_squares(PerturbParams p, A* sums) {
  const int64_t groups = groups_of(p.dim);
  for_groups(p.rows * groups, [&](int64_t g) {
    const A sum = sum_of_squares<A>(p, Group(g, groups));
    if (lane() == 0) sums[g] = sum;
  });
}

// Writes the pair. `squares` are the sums of whole rows, or null where a row is one group. `dots`
// receives each group's sum of v * s xi.
template <class T>
__global__ void __launch_bounds__(kThreads)
    perturb_groups(PerturbParams p, const Compute<T>* squares, Compute<T>* dots, bool vector) {
  using A = Compute<T>;
  const int64_t groups = groups_of(p.dim);
  for_groups(p.rows * groups, [&](int64_t g) {
    const Group group(g, groups);
    const A square = squares ? squares[group.row] : sum_of_squares<A>(p, group);
    const A scale = direction_scale(radius_of<A>(p, group.row), square);
    const A noise_std = noise_std_of<A>(p, group.row);
    const Stream directions = stream_of(p, Purpose::directions);
    const Stream noise = stream_of(p, Purpose::noise);
    const uint32_t chain = uint32_t(p.first_chain + group.row);
    const int64_t row = group.row * p.dim;
    const A dot = quads_sum<A>([&](int quad) {
      Terms<A> terms = {};
      const int n = group.size(p.dim, quad);
      if (n == 0) return terms;
      const int64_t begin = group.begin + quad;
      T x[kQuad] = {}, minus[kQuad];
      load_quad(static_cast<const T*>(p.x) + row, begin, n, vector, x);
      A v[kQuad], centre[kQuad];
      float normal[kQuad];
      normal4(directions, chain, uint32_t(begin / kQuad), normal);
      for (int i = 0; i < kQuad; ++i) v[i] = scale * A(normal[i]);
      for (int i = 0; i < kQuad; ++i) centre[i] = widen(x[i]);
      if (noise_std != A(0)) {
        normal4(noise, chain, uint32_t(begin / kQuad), normal);
        for (int i = 0; i < kQuad; ++i) centre[i] = fma(noise_std, A(normal[i]), centre[i]);
        for (int i = 0; i < kQuad; ++i)
          terms.of[i] = i < n ? term(v[i], noise_std * A(normal[i])) : A(0);
      }
      for (int i = 0; i < kQuad; ++i) x[i] = narrow<T>(centre[i] + v[i]);
      for (int i = 0; i < kQuad; ++i) minus[i] = narrow<T>(centre[i] - v[i]);
      T* const out = static_cast<T*>(p.out) + row;
      store_quad(out, begin, n, vector, x);
      store_quad(out + p.rows * p.dim, begin, n, vector, minus);
      return terms;
    });
    if (lane() == 0) dots[g] = dot;
  });
}

// The launches of the pair, and how they share the workspace.
template <class T>
class PerturbLaunch {
 public:
  using A = Compute<T>;

  PerturbLaunch(const PerturbParams& params, cuda::Workspace& space)
      : p_(params), groups_(groups_of(params.dim)) {
    if (groups_ == 1) return;
    squares_ = space.take<A>(p_.rows);
    group_sums_ = space.take<A>(p_.rows * groups_);
  }

  void run(void* stream) const {
    constexpr auto squares = &direction_squares<A>;
    constexpr auto perturb = &perturb_groups<T>;
    const unsigned grid = grid_for((p_.rows * groups_ + kWarps - 1) / kWarps);
    const bool vector = can_vectorise<T>(p_);
    A* const noise_dot = static_cast<A*>(p_.noise_dot);
    if (groups_ == 1) {
      EFFEBM_LAUNCH(perturb, grid, kThreads, stream, p_, nullptr, noise_dot, vector);
      return;
    }
    EFFEBM_LAUNCH(squares, grid, kThreads, stream, p_, group_sums_);
    launch_join_groups<A>(group_sums_, p_.rows, groups_, squares_, AsSum(), stream);
    EFFEBM_LAUNCH(perturb, grid, kThreads, stream, p_, squares_, group_sums_, vector);
    launch_join_groups<A>(group_sums_, p_.rows, groups_, noise_dot, AsSum(), stream);
  }

 private:
  PerturbParams p_;
  int64_t groups_;
  A *squares_ = nullptr, *group_sums_ = nullptr;  // the group sums hold squares, then products
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void perturb(const PerturbParams& p, const Execution& on) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    const auto make = [&](Workspace& space) { return PerturbLaunch<decltype(zero)>(p, space); };
    with_workspace(on, make).run(on.stream);
  });
}

}  // namespace effebm::cuda

// The perturbed pair, by flat kernels over the tiles of rows. Rows of one tile need one launch, and
// short ones share a tile. Longer rows first need the norms of their directions.
#include "../core/normal.h"
#include "../core/perturb.h"
#include "access.cuh"
#include "flat_index.cuh"
#include "join_groups.cuh"
#include "kernels.h"
#include "tile_sums.cuh"
#include "workspace.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Draws the normals of a place, for its direction or its noise.
inline __device__ void draw_normals(const PerturbParams& p, Purpose purpose, const Place& place,
                                    float (&normal)[kQuad]) {
  normal4(stream_of(p, purpose), uint32_t(p.first_chain + place.row), uint32_t(place.begin / kQuad),
          normal);
}

// Returns the sum of squares of a tile's directions to the threads of its row.
template <class A>
__device__ A sum_of_squares(const Place& place, const float (&direction)[kQuad], int width) {
  Terms<A> terms[1] = {};
  for (int i = 0; i < kQuad; ++i)
    if (i < place.n) terms[0].of[i] = term(A(direction[i]), A(direction[i]));
  A sum[1];
  tile_sums(terms, width, sum);
  return sum[0];
}

template <class A>
__global__ void __launch_bounds__(kThreads)
    direction_squares(PerturbParams p, A* sums, FlatIndex index) {
  const Place place = index.place<Access<kQuad, false>>(p.dim);
  float direction[kQuad] = {};
  if (place.n > 0) draw_normals(p, Purpose::directions, place, direction);
  const A sum = sum_of_squares<A>(place, direction, index.unit());
  if (begins_tile(place, index.unit()))
    sums[place.row * groups_of(p.dim) + place.begin / kSumWidth] = sum;
}

// Writes the pair. `squares` are the sums of whole rows, or null where a row is one tile. `dots`
// receives each tile's sum of v * s xi.
template <class T, bool kVector>
__global__ void __launch_bounds__(kThreads)
    perturb_pair(PerturbParams p, const Compute<T>* squares, Compute<T>* dots, FlatIndex index) {
  using A = Compute<T>;
  using Way = Access<kQuad, kVector>;
  const Place place = index.place<Way>(p.dim);
  T x[kQuad] = {}, minus[kQuad];
  float direction[kQuad] = {};
  if (place.n > 0) {
    load<Way>(static_cast<const T*>(p.x) + place.at, place.n, x);
    draw_normals(p, Purpose::directions, place, direction);
  }
  const A own = squares ? A(0) : sum_of_squares<A>(place, direction, index.unit());
  Terms<A> terms[1] = {};
  if (place.n > 0) {
    const A square = squares ? squares[place.row] : own;
    const A scale = direction_scale(radius_of<A>(p, place.row), square);
    const A noise_std = noise_std_of<A>(p, place.row);
    A v[kQuad], centre[kQuad];
    for (int i = 0; i < kQuad; ++i) v[i] = scale * A(direction[i]);
    for (int i = 0; i < kQuad; ++i) centre[i] = widen(x[i]);
    if (noise_std != A(0)) {
      float noise[kQuad];
      draw_normals(p, Purpose::noise, place, noise);
      for (int i = 0; i < kQuad; ++i) centre[i] = fma(noise_std, A(noise[i]), centre[i]);
      for (int i = 0; i < kQuad; ++i)
        if (i < place.n) terms[0].of[i] = term(v[i], noise_std * A(noise[i]));
    }
    for (int i = 0; i < kQuad; ++i) x[i] = narrow<T>(centre[i] + v[i]);
    for (int i = 0; i < kQuad; ++i) minus[i] = narrow<T>(centre[i] - v[i]);
    T* const out = static_cast<T*>(p.out) + place.at;
    store<Way>(out, place.n, x);
    store<Way>(out + p.rows * p.dim, place.n, minus);
  }
  A dot[1] = {};  // of rows without noise
  if (p.noise_stds || p.noise_std != 0) tile_sums(terms, index.unit(), dot);
  if (begins_tile(place, index.unit()))
    dots[place.row * groups_of(p.dim) + place.begin / kSumWidth] = dot[0];
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
    A* const noise_dot = static_cast<A*>(p_.noise_dot);
    if (groups_ == 1) return write_pair(nullptr, noise_dot, stream);
    constexpr auto squares = &direction_squares<A>;
    for_tiles([&](const FlatIndex& index, unsigned blocks) {
      EFFEBM_LAUNCH(squares, blocks, kThreads, stream, p_, group_sums_, index);
    });
    launch_join_groups<A>(group_sums_, p_.rows, groups_, squares_, AsSum(), stream);
    write_pair(squares_, group_sums_, stream);
    launch_join_groups<A>(group_sums_, p_.rows, groups_, noise_dot, AsSum(), stream);
  }

 private:
  template <class Launch>
  void for_tiles(const Launch& launch) const {
    for_flat_parts(p_.rows, p_.dim, kQuad, unit_of_tiles(p_.dim), launch);
  }

  void write_pair(const A* squares, A* dots, void* stream) const {
    constexpr auto vectors = &perturb_pair<T, true>, scalars = &perturb_pair<T, false>;
    const bool whole =
        whole_vectors<T>(p_.x, p_.dim, kQuad) && whole_vectors<T>(p_.out, p_.dim, kQuad);
    const auto kernel = whole ? vectors : scalars;
    for_tiles([&](const FlatIndex& index, unsigned blocks) {
      EFFEBM_LAUNCH(kernel, blocks, kThreads, stream, p_, squares, dots, index);
    });
  }

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

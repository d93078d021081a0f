// Checks the perturbed pair by every instruction set's kernel, and by the emulated CUDA kernels,
// against a transcription of the documentation, bit for bit, however the rows are split.
#include "../core/perturb.h"

#include "check.h"
#include "reference.h"
#include "tables.h"
#include "threads.h"

namespace effebm::test {
namespace {

constexpr int64_t kKey[2] = {-0x123456789ABCDEF, (int64_t(1) << 40) + 5};

template <class T>
struct Pair {
  std::vector<T> out;
  std::vector<Compute<T>> noise_dot;
};

template <class T>
struct Problem {
  using A = Compute<T>;
  PerturbParams params{};
  std::vector<T> x;
  // The second chain has the radius 0; the third and fourth have no noise.
  std::vector<A> radii{A(0.5), A(0), A(3), A(0.25)}, noise_stds{A(1), A(0.01), A(0), A(0)};

  Problem(int64_t dim, std::initializer_list<Pattern> patterns) {
    std::mt19937_64 random(uint64_t(dim) + 1);
    for (Pattern pattern : patterns)
      for (int64_t i = 0; i < dim; ++i) x.push_back(pattern_value<T>(pattern, i, random));
    params.dtype = Storage<T>::dtype;
    params.rows = int64_t(patterns.size());
    params.dim = dim;
    params.key = kKey;
    params.offset = 3;
    params.first_chain = (int64_t(1) << 32) - params.rows;
    params.radius = 0.3;
  }

  // Gives the radius and the noise in one of the four ways.
  void give_scalars(int way) {
    params.noise_std = way == 1 ? 0.7 : 0;
    params.radii = way >= 2 ? radii.data() : nullptr;
    params.noise_stds = way >= 2 ? noise_stds.data() : nullptr;
    params.radii_stride = params.noise_stds_stride = way == 3;
  }

  Pair<T> expected() const {
    const PerturbParams& p = params;
    Pair<T> pair{std::vector<T>(2 * x.size()), {}};
    const auto stream = [&](Purpose purpose) {
      return make_stream(uint64_t(p.key[0]), uint64_t(p.key[1]) + uint64_t(p.offset), purpose);
    };
    for (int64_t r = 0; r < p.rows; ++r) {
      const A radius = p.radii ? radii[size_t(r * p.radii_stride)] : A(p.radius);
      const A noise_std =
          p.noise_stds ? noise_stds[size_t(r * p.noise_stds_stride)] : A(p.noise_std);
      std::vector<A> g, xi, squares, products;
      for (int64_t i = 0; i < p.dim; ++i) {
        const auto normal = [&](Purpose purpose) {
          float four[4];
          normal4(stream(purpose), uint32_t(p.first_chain + r), uint32_t(i / 4), four);
          return A(four[i % 4]);
        };
        g.push_back(normal(Purpose::directions));
        xi.push_back(normal(Purpose::noise));
        squares.push_back(g.back() * g.back());
      }
      const A scale = radius / std::sqrt(direct_sum(squares));
      for (size_t i = 0; i < g.size(); ++i) {
        const size_t at = size_t(r * p.dim) + i;
        const A v = scale * g[i], noise = noise_std * xi[i];
        const A centre = noise_std == 0 ? widen(x[at]) : std::fma(noise_std, xi[i], widen(x[at]));
        pair.out[at] = narrow<T>(centre + v);
        pair.out[x.size() + at] = narrow<T>(centre - v);
        products.push_back(noise_std == 0 ? A(0) : v * noise + A(0));
      }
      pair.noise_dot.push_back(direct_sum(products));
    }
    return pair;
  }

  // `odd` moves the start of an array away from where vectors may begin.
  Pair<T> perturb(const Kernels& table, const Execution& threads, int odd = 0) const {
    std::vector<T> in = x;
    in.insert(in.begin(), odd == 1, of<T>(7.0));
    std::vector<T> out(2 * x.size() + (odd == 2), of<T>(99.0));
    std::vector<A> noise_dot(size_t(params.rows), A(99));
    PerturbParams p = params;
    p.x = in.data() + (odd == 1);
    p.out = out.data() + (odd == 2);
    p.noise_dot = noise_dot.data();
    table.perturb(p, threads);
    if (odd == 2) out.erase(out.begin());
    return {out, noise_dot};
  }
};

template <class T>
void compare(const Problem<T>& problem, const Pair<T>& got, const Pair<T>& expected,
             const char* name, const char* how) {
  const int64_t wrong = first_difference(got.out, expected.out);
  const int64_t wrong_dot = first_difference(got.noise_dot, expected.noise_dot);
  CHECK(wrong < 0 && wrong_dot < 0, name, how, sizeof(T), int(problem.params.dtype),
        problem.params.dim, wrong, wrong_dot);
}

template <class T>
void all_sizes() {
  static const auto tables = all_tables();
  for (int64_t dim : {1, 3, 4, 5, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 3000, 5000}) {
    Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::denormal, Pattern::special});
    for (int way = 0; way < 4; ++way) {
      if (kForRaces && way != 3) continue;
      problem.give_scalars(way);
      const Pair<T> expected = problem.expected();
      for (const auto* table : tables)
        compare(problem, problem.perturb(*table, *kAllThreads[way % 3]), expected, table->name,
                "rows");
      for (const auto* table : tables)
        for (int odd : {1, 2})
          if (dim == 64 || dim == 1024)
            compare(problem, problem.perturb(*table, kSerial, odd), expected, table->name, "odd");
    }
  }
}

// Checks rows that several threads share: some whose directions are kept, and some whose directions
// are drawn again.
template <class T>
void shared_rows(const Kernels& table) {
  for (int64_t dim : {32'768, 35'001}) {
    Problem<T> problem(dim, {Pattern::plain, Pattern::signs, Pattern::bits});
    problem.give_scalars(3);
    const Pair<T> expected = problem.expected();
    for (const auto* threads : kAllThreads)
      compare(problem, problem.perturb(table, *threads), expected, table.name, "shared");
  }
}

void scales_have_the_radius() {
  CHECK(direction_scale(2.0f, 16.0f) == 0.5f && direction_scale(0.0, 16.0) == 0.0);
  CHECK(direction_scale(2.0f, 0.0f) == 0.0f && direction_scale(2.0, 0.0) == 0.0);
  CHECK(direction_scale(HUGE_VAL, 0.0) == 0.0);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  scales_have_the_radius();
  for_each_dtype([](auto zero) { all_sizes<decltype(zero)>(); });
  for (const auto* table : all_tables())
    if (!is_emulated(table))
      for_each_dtype([table](auto zero) { shared_rows<decltype(zero)>(*table); });
  return report();
}

// Checks the order of summation, term by term, against a transcription of its definition.
#include "../core/canonical_sum.h"

#include <limits>

#include "check.h"
#include "reference.h"

namespace effebm::test {
namespace {

// Returns terms of magnitudes so far apart that every other order of adding them rounds
// differently.
template <class A>
std::vector<A> scattered(int64_t n) {
  std::mt19937_64 random(uint64_t(n) + 1);
  std::vector<A> terms;
  for (int64_t i = 0; i < n; ++i) {
    const A magnitude = A(std::ldexp(1.0 + uniform(random), int(random() % 24)));
    terms.push_back(random() & 1 ? magnitude : -magnitude);
  }
  return terms;
}

template <class A>
void sum_agrees(int64_t n) {
  constexpr int64_t kBegin = 77;  // positions are the caller's
  const std::vector<A> terms = scattered<A>(n);
  int64_t next = kBegin;
  bool in_order = true;
  const A sum = canonical_sum<A>(kBegin, n, [&](int64_t begin, int count, A* out) {
    in_order = in_order && begin == next && count <= kSumWidth;
    next = begin + count;
    for (int i = 0; i < count; ++i) out[i] = terms[size_t(begin - kBegin + i)];
  });
  CHECK(in_order && next == kBegin + n, n, next);
  const A expected = direct_sum(terms);
  CHECK(bits_of(sum) == bits_of(expected), n, sum, expected);
}

// Rubbish behind the terms must not count, and nothing behind the next power of two is touched.
template <class A>
void padding(int n) {
  int width = 1;
  while (width < n) width *= 2;
  const std::vector<A> terms = scattered<A>(n);
  std::vector<A> room = terms;
  room.resize(size_t(width), A(NAN));
  const A sum = halving_sum(room.data(), n);  // the sanitizer watches the end of `room`
  const A expected = direct_sum(terms);
  CHECK(bits_of(sum) == bits_of(expected), n, sum, expected);
}

template <class A>
void all() {
  for (int64_t n = 0; n <= 3000; ++n) sum_agrees<A>(n);
  constexpr int64_t kSquare = 1024 * 1024;
  for (int64_t n : {kSquare - 1, kSquare, kSquare + 1, kSquare + 1025}) sum_agrees<A>(n);
  for (int n = 0; n <= 1024; ++n) padding<A>(n);
  // Spelled out, as a transcription could share a mistake: (0 + 2) + (1 + 3), not (0 + 1) + ...
  const A big = A(std::ldexp(1.0, std::numeric_limits<A>::digits));
  A terms[4] = {big, 1, -big, 1};
  CHECK(halving_sum(terms, 4) == A(2), terms[0]);
  A neighbours[4] = {big, -big, 1, 1};
  CHECK(halving_sum(neighbours, 4) == A(1), neighbours[0]);
}

}  // namespace
}  // namespace effebm::test

int main() {
  effebm::test::all<float>();
  effebm::test::all<double>();
  return effebm::test::report();
}

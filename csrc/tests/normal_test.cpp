// Measures the error of the logarithm, sine, cosine and normals against double precision, in units
// of the last place of the exact result's binade.
#include "../core/normal.h"

#include <cmath>
#include <random>
#include <vector>

#include "check.h"

namespace effebm::test {
namespace {

using namespace core;

constexpr uint32_t kQuarter = 0x40000000u;
constexpr uint32_t kEighth = 0x20000000u;

// The worst error seen, and the words that gave it.
struct Worst {
  double ulp = 0;
  uint32_t radius_word = 0, angle_word = 0;

  void see(float value, double exact, uint32_t radius, uint32_t angle) {
    if (exact == 0 && value == 0) return;
    const double error = std::fabs(double(value) - exact) / std::ldexp(1.0, std::ilogb(exact) - 23);
    if (error <= ulp) return;  // NaN goes on
    *this = {std::isnan(error) ? HUGE_VAL : error, radius, angle};
  }
};

double exact_log(uint32_t n) { return std::log((double(n) + 0.5) * 0x1p-32); }

// Whole quarters are taken off as integers: near pi a double angle would already be wrong.
void exact_cos_sin(uint32_t n, double& cosine, double& sine) {
  const double angle = double(int64_t((n + kEighth) % kQuarter) - int64_t(kEighth)) *
                       (6.283185307179586476925 * 0x1p-32);
  const double c = std::cos(angle), s = std::sin(angle);
  switch ((n + kEighth) / kQuarter) {
    case 0:
      cosine = c, sine = s;
      break;
    case 1:
      cosine = -s, sine = c;
      break;
    case 2:
      cosine = -c, sine = -s;
      break;
    default:
      cosine = s, sine = -c;
  }
}

void add_around(std::vector<uint32_t>& words, uint32_t centre, uint32_t radius) {
  for (uint32_t i = 0; i <= 2 * radius; ++i) words.push_back(centre - radius + i);
}

// Returns words around both ends (words wrap around 0), the seam of the logarithm, and powers of
// two.
std::vector<uint32_t> radius_words() {
  std::vector<uint32_t> words;
  add_around(words, 0, 1u << 16);
  add_around(words, 0xB504F400u, 1u << 16);
  for (int bit = 8; bit < 32; ++bit) add_around(words, 1u << bit, 256);
  return words;
}

std::vector<uint32_t> angle_words() {
  std::vector<uint32_t> words;
  for (uint32_t eighth = 0; eighth < 8; ++eighth) add_around(words, eighth * kEighth, 1u << 14);
  return words;
}

void log_error() {
  Worst worst;
  const auto see = [&worst](uint32_t n) { worst.see(log_uniform(n), exact_log(n), n, 0); };
  for (uint32_t n : radius_words()) see(n);
  std::mt19937 random(1);
  for (int i = 0; i < 2'000'000; ++i) see(uint32_t(random()));
  std::cout << "log_uniform: " << worst.ulp << " ulp" << std::endl;
  CHECK(worst.ulp <= 2.5, worst.ulp, worst.radius_word);
}

void cos_sin_error() {
  Worst worst;
  const auto see = [&worst](uint32_t n) {
    float cosine, sine;
    double exact_cosine, exact_sine;
    cos_sin_turn(n, cosine, sine);
    exact_cos_sin(n, exact_cosine, exact_sine);
    worst.see(cosine, exact_cosine, 0, n);
    worst.see(sine, exact_sine, 0, n);
  };
  for (uint32_t n : angle_words()) see(n);
  std::mt19937 random(2);
  for (int i = 0; i < 2'000'000; ++i) see(uint32_t(random()));
  std::cout << "cos_sin_turn: " << worst.ulp << " ulp" << std::endl;
  CHECK(worst.ulp <= 1.5, worst.ulp, worst.angle_word);
}

void normal_error() {
  Worst worst;
  float largest = 0;
  const auto see = [&](uint32_t radius_word, uint32_t angle_word) {
    float n0, n1;
    double cosine, sine;
    box_muller(radius_word, angle_word, n0, n1);
    exact_cos_sin(angle_word, cosine, sine);
    const double radius = std::sqrt(-2 * exact_log(radius_word));
    worst.see(n0, radius * cosine, radius_word, angle_word);
    worst.see(n1, radius * sine, radius_word, angle_word);
    largest = std::fmax(largest, std::fmax(std::fabs(n0), std::fabs(n1)));
  };
  std::mt19937 random(3);
  for (uint32_t n : radius_words()) see(n, uint32_t(random()));
  for (uint32_t n : angle_words()) see(uint32_t(random()), n);
  for (uint32_t n : angle_words()) see(0, n);
  for (int i = 0; i < 2'000'000; ++i) {
    const uint32_t radius_word = uint32_t(random());
    see(radius_word, uint32_t(random()));
  }
  std::cout << "box_muller: " << worst.ulp << " ulp, largest " << largest << std::endl;
  CHECK(worst.ulp <= 4.0, worst.ulp, worst.radius_word, worst.angle_word);
  CHECK(largest < 6.77f && largest > 6.76f, largest);
}

// Quarter turns only swap and negate; so does the mirror, except at odd eighths, where the two
// sides are different polynomials.
void symmetries() {
  std::mt19937 random(4);
  std::vector<uint32_t> words = angle_words();
  for (int i = 0; i < 100'000; ++i) words.push_back(uint32_t(random()));
  int broken = 0;
  for (uint32_t n : words) {
    float c, s, turned_c, turned_s, mirrored_c, mirrored_s;
    cos_sin_turn(n, c, s);
    cos_sin_turn(n + kQuarter, turned_c, turned_s);
    cos_sin_turn(0u - n, mirrored_c, mirrored_s);
    broken += !(turned_c == -s && turned_s == c);
    if (n % kQuarter != kEighth) broken += !(mirrored_c == c && mirrored_s == -s);
    const uint32_t radius_word = uint32_t(random());
    float n0, n1, turned_n0, turned_n1;
    box_muller(radius_word, n, n0, n1);
    box_muller(radius_word, n + kQuarter, turned_n0, turned_n1);
    broken += !(turned_n0 == -n1 && turned_n1 == n0);
  }
  CHECK(broken == 0, broken);
  float c, s;
  cos_sin_turn(0, c, s);
  CHECK(c == 1.0f && s == 0.0f, c, s);
}

void four_at_a_time() {
  const Stream stream = make_stream(11, 12, Purpose::noise);
  const Words r = draw(stream, 13, 14);
  float n[4], expected[4];
  normal4(stream, 13, 14, n);
  box_muller(r.w[0], r.w[1], expected[0], expected[1]);
  box_muller(r.w[2], r.w[3], expected[2], expected[3]);
  for (int i = 0; i < 4; ++i) CHECK(n[i] == expected[i], i, n[i], expected[i]);
}

}  // namespace
}  // namespace effebm::test

int main() {
  using namespace effebm::test;
  log_error();
  cos_sin_error();
  normal_error();
  symmetries();
  four_at_a_time();
  return report();
}

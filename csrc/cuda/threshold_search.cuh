// The search for the k-th largest of some keys by counting the keys above guesses. Whatever is
// guessed, the result is the same; good guesses need fewer counts.
#pragma once

#include <cmath>
#include <numbers>

#include "../core/topk.h"
#include "selection.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// What is expected of a row, for the first guesses. `slope` says how fast the log of the odds
// count / (total - count) falls by a doubling of the magnitude.
struct Expectation {
  float of_mean;     // the threshold over the mean magnitude
  float of_largest;  // the most that the threshold is of the largest
  uint64_t key;      // the threshold itself, or 0 if it has to be guessed
  float slope;
};

// What is expected of the k largest of `count` normals; of uniform numbers the threshold is
// of_largest times the largest. The quantile is the one of Abramowitz and Stegun, 26.2.23, which is
// right to within .00045.
inline Expectation expect_normals(double k, double count) {
  const double share = k / count, t = std::sqrt(-2 * std::log(share / 2));
  const double z = t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                           (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
  const double density = 2 * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
  const double slope = density * z / (share * (1 - share));
  return {float(std::max(z, 1e-3) * std::sqrt(std::numbers::pi / 2)), float(1 - share), 0,
          float(std::max(slope, 0.25))};
}

// Returns log2 of a positive number, to within .09 (its exponent, and its mantissa as a line).
inline __device__ float rough_log2(float v) { return float(to_bits(v)) * 0x1p-23f; }

// Returns the log2 of the odds of a count; 0 and all count for a half.
inline __device__ float log_odds(uint32_t count, uint32_t all) {
  const float n = float(count), rest = float(all - count);
  return rough_log2(n < 0.5f ? 0.5f : n) - rough_log2(rest < 0.5f ? 0.5f : rest);
}

// Returns a / b for b > 0, to within 1 %: enough for a guess, and few instructions.
inline __device__ float rough_ratio(float a, float b) {
  const float inverse = from_bits(0x7EF311C3u - to_bits(b));
  return a * inverse * fma(-b, inverse, 2.0f);
}

// An interval of keys that holds the threshold. At least k keys are >= low(), and fewer are
// >= high(). It has few members, because every thread of a row keeps them in registers.
template <class A>
class ThresholdSearch {
 public:
  using K = Key<A>;

  // All of `count` keys are in [low, high), and 0 < k <= count.
  __device__ ThresholdSearch(uint32_t count, uint32_t k, K low, K high, K first, float slope)
      : count_(count),
        k_(k),
        low_(low),
        high_(k == count ? low + 1 : high),
        from_low_(count),
        asked_(first),
        slope_(slope) {}

  __device__ bool found() const { return high_ - low_ <= 1; }
  __device__ K low() const { return low_; }
  __device__ K high() const { return high_; }
  // Where the threshold is found: how many keys equal it, and how many of these are wanted.
  __device__ uint32_t ties() const { return from_low_ - from_high_; }
  __device__ uint32_t wanted() const { return k_ - from_high_; }

  // Returns the key from which keys are to be counted next, which lies between low() and high().
  __device__ K ask() {
    if (asked_ <= low_) asked_ = low_ + 1;
    if (asked_ >= high_) asked_ = high_ - 1;
    return asked_;
  }

  // Tells how many keys are at least the key that was asked for.
  __device__ void tell(uint32_t count) {
    stuck_ = count == from_low_ || count == from_high_ || guesses_ % kPatience == kPatience - 1;
    ++guesses_;
    const bool is_low = count >= k_;
    if (is_low) {
      low_ = asked_;
      from_low_ = count;
    } else {
      high_ = asked_;
      from_high_ = count;
    }
    if (count == k_) high_ = low_ + 1;
    weight_ = is_low == low_moved_ ? weight_ * 0.5f : 1;
    low_moved_ = is_low;
    guess(count);
  }

  // Tells whether a count told nothing new, or many told little, as happens between keys that are
  // far apart. Then the key next to an end of the interval says more: the largest below high(), or
  // the smallest from low() on.
  __device__ bool stuck() const { return stuck_ && !found(); }
  __device__ bool looks_below_high() const {
    constexpr uint32_t kFew = 8;  // then the end with fewer keys up to the threshold is better
    return ties() <= kFew ? k_ - from_high_ <= from_low_ - k_ : !low_moved_;
  }
  __device__ void tell_neighbour(K key) {
    stuck_ = false;
    if (looks_below_high()) {
      high_ = key + 1;
      asked_ = key;
    } else {
      low_ = key;
      asked_ = key + 1;
    }
  }

 private:
  static constexpr float kOctave = sizeof(A) == 8 ? 0x1p52f : 0x1p23f;  // keys between v and 2 v

  __device__ void guess(uint32_t count) {
    if (guesses_ >= kMostGuesses) {
      asked_ = low_ + (high_ - low_) / 2;
      return;
    }
    if (low_ == 0 || (from_high_ == 0 && low_moved_)) return step_from_end(count);
    // The false position. The end that stays counts for a half the second time, then for a fourth,
    // ..., so that both ends come nearer (the form called Illinois).
    float above = float(from_low_ - k_), below = float(k_ - from_high_);
    (low_moved_ ? below : above) *= weight_;
    asked_ = low_ + K(float(high_ - low_) * rough_ratio(above, above + below));
  }

  // One end of the interval has not been counted. The slope says how far to go from the other one,
  // and farther where it was not far enough.
  __device__ void step_from_end(uint32_t count) {
    const float away = core::abs(log_odds(count, count_) - log_odds(k_, count_));
    const float octaves = rough_ratio(1.1f * away, slope_);
    const float step = (octaves > 8 ? 8 : octaves) * kOctave;
    slope_ *= 0.5f;
    if (low_ == 0)
      asked_ = step < float(high_) ? high_ - K(step) : 0;
    else
      asked_ = step < float(high_ - low_) ? low_ + K(step) : high_;
  }

  uint32_t count_, k_;
  K low_, high_;
  uint32_t from_low_, from_high_ = 0;
  K asked_;
  float slope_;
  float weight_ = 2;  // of the end that did not move
  int guesses_ = 0;
  bool stuck_ = false, low_moved_ = false;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

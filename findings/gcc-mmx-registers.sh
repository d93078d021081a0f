#!/usr/bin/env bash
# GCC 12 moves ordinary data through an MMX register, without emms; the next x87 operation gives NaN.
#
# The x87 registers hold the MMX registers, and an MMX instruction marks all of them as in use. What
# pushes a value then, as `long double` arithmetic and fmodl do, overflows the stack. The program has no
# intrinsics, and no flag but -O3: a function zeroes two arrays of four floats, one of which stays in
# registers, and GCC copies the zeros of one to the other by way of mm0.
#
# Guess, before the first run: code under register pressure is needed, as in the kernel in which this was
# seen first; after a call, `long double` and both kinds of fmod give NaN; with -mno-mmx nothing is wrong.
#
# Seen with GCC 12.2.0 of Debian 12 (12.2.0-14+deb12u1), glibc 2.36: as guessed but for two things. Small
# functions do it, too. The fmod of doubles is right, as this glibc computes it without x87. The results
# of the function itself are right. Only the first fmodl is NaN, since it leaves free registers behind.
# -O2 is also right, and so is -mno-stv, under which integers do not move to vector registers.
#
# Under other compilers than Debian's GCC 12.2.0 for x86-64 nothing is compiled, and nothing was seen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
version=$(g++ --version | sed -n 1p)
if [[ $version != *"(Debian 12.2.0-14+deb12u1)"* || $(g++ -dumpmachine) != x86_64-linux-gnu ]]; then
  echo "needs g++ of Debian's package g++-12 12.2.0-14+deb12u1 for x86-64, got $version" >&2
  exit 1
fi
cat >"$folder/add.cpp" <<'CPP'
#include <cmath>
#include <cstdio>

[[gnu::noipa]] void fill(float* four) {
  for (int i = 0; i < 4; ++i) four[i] = 1;
}

// Adds 1 + z to the first n <= 4 elements.
[[gnu::noipa]] void add(const float* from, float* to, int n, float z) {
  float x[4] = {}, ones[4] = {};
  if (n <= 0) return;
  for (int i = 0; i < 4; ++i)
    if (i < n) x[i] = from[i];
  fill(ones);
  if (z != 0) {
    float factors[4];
    fill(factors);
    for (int i = 0; i < 4; ++i) x[i] = std::fma(z, factors[i], x[i]);
  }
  for (int i = 0; i < 4; ++i) x[i] += ones[i];
  for (int i = 0; i < 4; ++i)
    if (i < n) to[i] = x[i];
}

int main() {
  volatile long double one = 1, three = 3, quotient, rest[2];
  volatile double seven = 7, four = 4, rest_of_doubles;
  const float from[4] = {1, 2, 3, 4};
  float to[4] = {};
  add(from, to, 3, 2);
  rest_of_doubles = std::fmod(seven, four);
  for (int i = 0; i < 2; ++i) rest[i] = fmodl(seven, four);
  add(from, to, 3, 2);
  quotient = one / three;
  std::printf("  sums %g %g %g, fmod %g, fmodl %Lg then %Lg, 1/3 = %.4Lf\n", to[0], to[1], to[2],
              rest_of_doubles, rest[0], rest[1], quotient);
}
CPP
for flags in -O2 -O3 "-O3 -mno-mmx" "-O3 -mno-stv"; do
  # shellcheck disable=SC2086
  g++ -std=c++20 -Wall -Wextra -Wpedantic -Werror $flags -S "$folder/add.cpp" -o "$folder/add.s"
  g++ "$folder/add.s" -o "$folder/add"
  echo "$flags: $(grep -c '%mm[0-7]' "$folder/add.s" || true) instructions with MMX registers"
  "$folder/add"
done >"$folder/now"
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
-O2: 0 instructions with MMX registers
  sums 4 5 6, fmod 3, fmodl 3 then 3, 1/3 = 0.3333
-O3: 2 instructions with MMX registers
  sums 4 5 6, fmod 3, fmodl -nan then 3, 1/3 = -nan
-O3 -mno-mmx: 0 instructions with MMX registers
  sums 4 5 6, fmod 3, fmodl 3 then 3, 1/3 = 0.3333
-O3 -mno-stv: 0 instructions with MMX registers
  sums 4 5 6, fmod 3, fmodl 3 then 3, 1/3 = 0.3333
SEEN

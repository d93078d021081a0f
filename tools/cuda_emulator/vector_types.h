// CUDA's vector types, with CUDA's alignment.
#pragma once

#include <cstdint>

// Kernels read arrays of scalars through these types. nvcc does no type-based alias analysis; g++
// does, and may_alias exempts the access from it.
#define EFFEBM_EMULATOR_VECTOR2(Name, Scalar)                  \
  struct [[gnu::may_alias]] alignas(2 * sizeof(Scalar)) Name { \
    Scalar x, y;                                               \
  };                                                           \
  inline Name make_##Name(Scalar x, Scalar y) { return {x, y}; }
#define EFFEBM_EMULATOR_VECTOR4(Name, Scalar)                  \
  struct [[gnu::may_alias]] alignas(4 * sizeof(Scalar)) Name { \
    Scalar x, y, z, w;                                         \
  };                                                           \
  inline Name make_##Name(Scalar x, Scalar y, Scalar z, Scalar w) { return {x, y, z, w}; }

EFFEBM_EMULATOR_VECTOR2(int2, int)
EFFEBM_EMULATOR_VECTOR2(uint2, unsigned)
EFFEBM_EMULATOR_VECTOR2(float2, float)
EFFEBM_EMULATOR_VECTOR2(double2, double)
EFFEBM_EMULATOR_VECTOR2(ulonglong2, unsigned long long)
EFFEBM_EMULATOR_VECTOR4(int4, int)
EFFEBM_EMULATOR_VECTOR4(uint4, unsigned)
EFFEBM_EMULATOR_VECTOR4(float4, float)

#undef EFFEBM_EMULATOR_VECTOR2
#undef EFFEBM_EMULATOR_VECTOR4

struct uint3 {
  unsigned x, y, z;
};
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
  constexpr dim3(uint3 size) : x(size.x), y(size.y), z(size.z) {}
};

using cudaStream_t = void*;

// The parameters of the kernel that only compresses.
#pragma once

#include "../core/compressors.h"
#include "values.h"

namespace effebm::test {

template <class T>
CompressParams compress_params(Compressor compressor, int64_t size, int64_t rows, int64_t dim,
                               const T* x, T* out) {
  CompressParams p{};
  p.compressor = compressor;
  p.compressor_size = size;
  p.dtype = Storage<T>::dtype;
  p.rows = rows;
  p.dim = dim;
  p.x = x;
  p.out = out;
  return p;
}

}  // namespace effebm::test

// Facts of this build that setup.py knows.
#pragma once

namespace effebm {

struct BuildRecord {
  const char* torch;    // the version it was compiled against
  const char* no_cuda;  // why the CUDA kernels were left out; empty if they were built
  const char* sources;  // source_digest() of the sources
};

extern const BuildRecord kBuildRecord;

}  // namespace effebm

// A file of its own, so that a new record compiles nothing else again.
#include "build_record.h"

const effebm::BuildRecord effebm::kBuildRecord{EFFEBM_BUILT_WITH_TORCH, EFFEBM_NO_CUDA,
                                               EFFEBM_SOURCES};

// The threads that the CPU kernels of the ops run on.
#pragma once

#include "../core/kernels.h"

namespace effebm::ops {

// As many as torch.get_num_threads() says.
Threads cpu_threads();

}  // namespace effebm::ops

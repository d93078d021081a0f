// Threads that wait for work, for the kernels of all instruction sets.
#pragma once

#include "../core/kernels.h"

namespace effebm::cpu {

// Threads::deal on threads of this process. The caller works, too, and returns when all is done: it
// never waits for a thread that has not begun a range. Calls that come while another one has the
// threads, nested ones among them, do their work where they are called. What a body throws, the
// caller throws, after all other ranges are done. A forked process gets threads of its own.
void deal(int count, int64_t n, int64_t grain, void (*body)(void* context, int64_t, int64_t),
          void* context);

}  // namespace effebm::cpu

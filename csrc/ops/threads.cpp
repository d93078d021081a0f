// Work goes to OpenMP's threads while these come when they are called, and to the pool while they
// do not.
//
// Where the machine has a core for each, OpenMP's threads are the better ones: they still spin from
// PyTorch's last op, so that they begin at once, and a thread of the pool had to get its core from
// one of them first. Where another process has taken a core, the end of an OpenMP region waits
// until the thread that lost it has come: milliseconds, for a step of less than one. The pool does
// not.
#include "threads.h"

#include <pthread.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <ctime>
#include <limits>

#include "../cpu/pool.h"

namespace effebm::ops {
namespace {

using Body = void (*)(void* context, int64_t begin, int64_t end);

// OpenMP is left alone for this many times what it has lost: late threads cost 2 % at most.
constexpr int64_t kPause = 50;
constexpr int64_t kWake = 200'000;  // nanoseconds within which a thread that has a core wakes up

std::atomic<int64_t> openmp_again = 0;  // the time before which OpenMP is not used

// A forked process has none of OpenMP's threads, and OpenMP would wait for them for ever.
[[maybe_unused]] const int no_openmp_after_fork =
    pthread_atfork(nullptr, nullptr, [] { openmp_again = std::numeric_limits<int64_t>::max(); });

int64_t nanoseconds(clockid_t clock = CLOCK_MONOTONIC) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * int64_t(1'000'000'000) + time.tv_nsec;
}

// Calls body for all ranges, and takes the time in which the caller has neither worked nor been
// done: it waited for other threads, or one of them, spinning, had its core.
void deal_by_openmp(int64_t n, int64_t grain, Body body, void* context) {
  const int64_t start = nanoseconds();
  int64_t worked = 0;
  torch::stable::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    if (begin > 0) return body(context, begin, end);  // the first range is the caller's
    const int64_t own_start = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    body(context, begin, end);
    worked = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - own_start;
  });
  const int64_t end = nanoseconds(), lost = end - start - worked;
  if (lost > std::max(worked, kWake)) openmp_again = end + kPause * lost;
}

void deal(int count, int64_t n, int64_t grain, Body body, void* context) {
  if (nanoseconds() >= openmp_again)
    deal_by_openmp(n, grain, body, context);
  else
    cpu::deal(count, n, grain, body, context);
}

}  // namespace

Threads cpu_threads() { return {int(torch::stable::get_num_threads()), &deal}; }

}  // namespace effebm::ops

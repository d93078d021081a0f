// Threads of execution that run in turn on one thread of the system.
#pragma once

#include <cstddef>

#if defined(EFFEBM_EMULATOR_UCONTEXT) || !defined(__x86_64__)
#undef EFFEBM_EMULATOR_UCONTEXT
#define EFFEBM_EMULATOR_UCONTEXT 1
#include <ucontext.h>
#endif

namespace effebm::emulator {

// A stack to run on, with a page below it that faults on overflow.
class Stack {
 public:
  static constexpr size_t kBytes = 256 << 10;

  Stack();
  ~Stack();
  Stack(Stack&& other) noexcept;
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  char* bottom() const { return bottom_; }
  // TSan's fiber belongs to the stack, or reuse of the stack would look like a race.
  void* tsan_fiber() const { return tsan_fiber_; }

 private:
  char* bottom_ = nullptr;
  void* tsan_fiber_ = nullptr;
};

// A context that can be switched to: a fiber, or the host that runs the fibers.
struct Context {
#ifdef EFFEBM_EMULATOR_UCONTEXT
  ucontext_t registers;
#else
  void* stack_pointer = nullptr;
#endif
  const void* stack_bottom = nullptr;
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;  // AddressSanitizer's
  void* tsan_fiber = nullptr;
};

// Makes `fiber` run `entry` on `stack` when it is first switched to. `entry` begins with a call of
// entered() and never returns.
void prepare(Context& fiber, const Stack& stack, void (*entry)());
void entered(Context& from);

// Runs `to` until something switches back to `from`, which `forever` promises never to happen.
void switch_context(Context& from, Context& to, bool forever = false);

void* new_tsan_fiber();
void* current_tsan_fiber();

}  // namespace effebm::emulator

#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>
#include <utility>

#include "sanitizers.h"

#ifndef EFFEBM_EMULATOR_UCONTEXT
// Saves the registers that a call preserves on the stack, leaves the stack pointer in *save, and
// goes on where the other side did the same.
extern "C" void effebm_emulator_switch(void** save, void* stack_pointer);
asm(R"(
.pushsection .text
.globl effebm_emulator_switch
.hidden effebm_emulator_switch
.type effebm_emulator_switch, @function
effebm_emulator_switch:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size effebm_emulator_switch, . - effebm_emulator_switch
.popsection
)");
#endif

namespace effebm::emulator {
namespace {

size_t guard_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

Stack::Stack() {
  void* mapping = mmap(nullptr, guard_bytes() + kBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  if (mprotect(mapping, guard_bytes(), PROT_NONE)) {
    munmap(mapping, guard_bytes() + kBytes);
    throw std::bad_alloc();
  }
  bottom_ = static_cast<char*>(mapping) + guard_bytes();
  tsan_fiber_ = new_tsan_fiber();
}

Stack::~Stack() {
  if (!bottom_) return;
#ifdef EFFEBM_EMULATOR_TSAN
  __tsan_destroy_fiber(tsan_fiber_);
#endif
  unpoison(bottom_, kBytes);
  munmap(bottom_ - guard_bytes(), guard_bytes() + kBytes);
}

Stack::Stack(Stack&& other) noexcept
    : bottom_(std::exchange(other.bottom_, nullptr)),
      tsan_fiber_(std::exchange(other.tsan_fiber_, nullptr)) {}

void prepare(Context& fiber, const Stack& stack, void (*entry)()) {
  fiber.stack_bottom = stack.bottom();
  fiber.stack_bytes = Stack::kBytes;
  fiber.tsan_fiber = stack.tsan_fiber();
  unpoison(stack.bottom(), Stack::kBytes);  // an earlier fiber may not have come to its end
#ifdef EFFEBM_EMULATOR_UCONTEXT
  getcontext(&fiber.registers);
  fiber.registers.uc_stack.ss_sp = stack.bottom();
  fiber.registers.uc_stack.ss_size = Stack::kBytes;
  fiber.registers.uc_link = nullptr;
  makecontext(&fiber.registers, entry, 0);
#else
  // The first switch to this stack returns into `entry`, with the stack 8 modulo 16 as after a
  // call.
  constexpr int kSaved = 6;
  uintptr_t* top = reinterpret_cast<uintptr_t*>(stack.bottom() + Stack::kBytes) - 2;
  *top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < kSaved; ++i) *--top = 0;
  fiber.stack_pointer = top;
#endif
}

void entered([[maybe_unused]] Context& from) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &from.stack_bottom, &from.stack_bytes);
#endif
}

void switch_context(Context& from, Context& to, [[maybe_unused]] bool forever) {
#ifdef EFFEBM_EMULATOR_TSAN
  __tsan_switch_to_fiber(to.tsan_fiber, kWithoutOrder);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(forever ? nullptr : &from.fake_stack, to.stack_bottom,
                                 to.stack_bytes);
#endif
#ifdef EFFEBM_EMULATOR_UCONTEXT
  swapcontext(&from.registers, &to.registers);
#else
  effebm_emulator_switch(&from.stack_pointer, to.stack_pointer);
#endif
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

#ifdef EFFEBM_EMULATOR_TSAN
void* new_tsan_fiber() { return __tsan_create_fiber(0); }
void* current_tsan_fiber() { return __tsan_get_current_fiber(); }
#else
void* new_tsan_fiber() { return nullptr; }
void* current_tsan_fiber() { return nullptr; }
#endif

}  // namespace effebm::emulator

// Checks which table is chosen under a wish: the first argument, as ATEN_CPU_CAPABILITY has it, or
// "unset".
#include <cstdlib>
#include <string>

#include "check.h"
#include "tables.h"

int main(int count, char** arguments) {
  using namespace effebm;
  const std::string wish = count > 1 ? arguments[1] : "unset";
  if (wish == "unset")
    unsetenv("ATEN_CPU_CAPABILITY");
  else
    setenv("ATEN_CPU_CAPABILITY", wish.c_str(), 1);

  const auto tables = test::supported_tables();
  const Kernels* expected = tables.back();
  if (wish == "default") expected = tables.front();
  if (wish == "avx2" && tables.size() > 1) expected = tables[1];
  CHECK(&cpu::kernels() == expected, cpu::kernels().name, expected->name);
  return test::report();
}

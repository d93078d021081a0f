// The extension module. Importing it registers the ops with torch; what it binds itself needs no
// torch: build information, the codes of the schemas, and a capsule by which _C_cuda adds kernels.
#include <pybind11/pybind11.h>

#include "build_record.h"
#include "core/langevin_step.h"
#include "cpu/kernels.h"
#include "ops/kernels.h"

namespace py = pybind11;
using namespace effebm;

namespace {

py::dict build_info() {
  py::dict info;
  info["compiler"] = __VERSION__;
  info["cxx_standard"] = __cplusplus;
  info["torch_target"] = EFFEBM_TORCH_TARGET;
  info["torch"] = kBuildRecord.torch;
  info["no_cuda"] = kBuildRecord.no_cuda;
  info["sources"] = kBuildRecord.sources;
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled kernels of effebm_ext.";
  m.def("build_info", &build_info,
        "Compiler, C++ standard, the oldest torch this build runs on, the torch it was compiled "
        "against, why it has no CUDA kernels (empty if it has), and the digest of its sources.");
  m.def(
      "cpu_capability", [] { return cpu::kernels().name; },
      "The instruction set of the CPU kernels in use: baseline, avx2 or avx512.");

  m.attr("register_kernels") =
      py::capsule(reinterpret_cast<void*>(&ops::register_kernels), ops::kRegisterKernels);

  py::dict compressors;
  py::set random;
#define EFFEBM_CODE(name, Class, draws, ...)  \
  compressors[#name] = int(Compressor::name); \
  if (draws) random.add(int(Compressor::name));
  EFFEBM_COMPRESSORS(EFFEBM_CODE)
#undef EFFEBM_CODE
  m.attr("COMPRESSORS") = compressors;
  m.attr("RANDOM_COMPRESSORS") = py::frozenset(random);
  m.attr("COMPRESSOR_NONE") = int(Compressor::none);
  m.attr("CLIP_NONE") = int(Clip::none);
  m.attr("CLIP_VALUE") = int(Clip::value);
  m.attr("CLIP_NORM") = int(Clip::norm);
  m.attr("BOUNDS_NONE") = int(Bounds::none);
  m.attr("BOUNDS_CLAMP") = int(Bounds::clamp);
  m.attr("BOUNDS_REFLECT") = int(Bounds::reflect);
  m.attr("ROW_SUMS_STATISTICS") = int(RowSums::statistics);
  m.attr("ROW_SUMS_TRANSITION") = int(RowSums::transition);
}

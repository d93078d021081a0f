// The extension module. Importing it registers the ops with torch; what it binds itself needs no
// torch: build information, the codes of the schemas, and the numerical core over NumPy arrays.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "build_record.h"
#include "core/canonical_sum.h"
#include "core/langevin_step.h"
#include "core/normal.h"
#include "core/topk.h"
#include "cpu/kernels.h"

namespace py = pybind11;
using namespace effebm;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;

py::array_t<uint32_t> philox4x32_10(const Array<uint32_t>& counter,
                                    const std::array<uint32_t, 2>& key) {
  if (counter.ndim() != 2 || counter.shape(1) != 4)
    throw py::value_error("counter: expected shape (n, 4)");
  py::array_t<uint32_t> out({counter.shape(0), py::ssize_t(4)});
  for (py::ssize_t i = 0; i < counter.shape(0); ++i) {
    const uint32_t* c = counter.data(i, 0);
    const core::Words r = core::philox4x32_10({{c[0], c[1], c[2], c[3]}}, key[0], key[1]);
    std::copy(r.w, r.w + 4, out.mutable_data(i, 0));
  }
  return out;
}

py::array_t<float> box_muller(const Array<uint32_t>& words) {
  if (words.ndim() != 2 || words.shape(1) != 2)
    throw py::value_error("words: expected shape (n, 2)");
  py::array_t<float> out({words.shape(0), py::ssize_t(2)});
  for (py::ssize_t i = 0; i < words.shape(0); ++i)
    core::box_muller(*words.data(i, 0), *words.data(i, 1), *out.mutable_data(i, 0),
                     *out.mutable_data(i, 1));
  return out;
}

py::array_t<float> normals(int64_t rows, int64_t dim, int64_t seed, int64_t offset,
                           int64_t first_chain) {
  if (rows < 0 || dim < 0) throw py::value_error("rows, dim: expected at least 0");
  py::array_t<float> out({rows, dim});
  const core::Stream stream =
      core::make_stream(uint64_t(seed), uint64_t(offset), core::Purpose::noise);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < dim; i += 4) {
      float n[4];
      core::normal4(stream, uint32_t(first_chain + r), uint32_t(i / 4), n);
      std::copy(n, n + std::min<int64_t>(4, dim - i), out.mutable_data(r, i));
    }
  return out;
}

template <class A>
A canonical_sum(const Array<A>& terms) {
  if (terms.ndim() != 1) throw py::value_error("terms: expected one dimension");
  return core::canonical_sum<A>(0, terms.size(), [&](int64_t begin, int n, A* out) {
    for (int i = 0; i < n; ++i) out[i] = terms.data()[begin + i] + A(0);
  });
}

template <class A>
auto order_keys(const Array<A>& x) {
  py::array_t<core::Key<A>> out(x.size());
  for (py::ssize_t i = 0; i < x.size(); ++i) out.mutable_data()[i] = core::order_key(x.data()[i]);
  return out;
}

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

  m.def(
      "use_cpu_kernels",
      [](uintptr_t table) { cpu::use_kernels(reinterpret_cast<const cpu::Kernels*>(table)); },
      "For tests: runs the table of kernels at this address on CPU tensors, or the own ones for "
      "0.");

  m.def("philox4x32_10", &philox4x32_10, py::arg("counter"), py::arg("key"),
        "Random words uint32 (n, 4) for counters uint32 (n, 4) and a key of two words.");
  m.def("box_muller", &box_muller, py::arg("words"),
        "Two normals float32 (n, 2) from two random words uint32 (n, 2).");
  m.def("normals", &normals, py::arg("rows"), py::arg("dim"), py::arg("seed"),
        py::arg("offset") = 0, py::arg("first_chain") = 0,
        "The noise float32 (rows, dim) that a Langevin step with this key adds, times noise_std.");
  m.def("canonical_sum", &canonical_sum<float>, py::arg("terms").noconvert());
  m.def("canonical_sum", &canonical_sum<double>, py::arg("terms").noconvert(),
        "Sum of float32 or float64 (n,) in the order of the numerical contract.");
  m.def("order_keys", &order_keys<float>, py::arg("x").noconvert());
  m.def("order_keys", &order_keys<double>, py::arg("x").noconvert(),
        "The integers by which Top-k compares magnitudes, for float32 or float64 (n,).");

  m.attr("COMPRESSOR_NONE") = int(Compressor::none);
  m.attr("COMPRESSOR_TOPK") = int(Compressor::topk);
  m.attr("COMPRESSOR_BLOCK_SIGN") = int(Compressor::block_sign);
  m.attr("CLIP_NONE") = int(Clip::none);
  m.attr("CLIP_VALUE") = int(Clip::value);
  m.attr("CLIP_NORM") = int(Clip::norm);
  m.attr("BOUNDS_NONE") = int(Bounds::none);
  m.attr("BOUNDS_CLAMP") = int(Bounds::clamp);
  m.attr("BOUNDS_REFLECT") = int(Bounds::reflect);
  m.attr("ROW_SUMS_STATISTICS") = int(RowSums::statistics);
  m.attr("ROW_SUMS_TRANSITION") = int(RowSums::transition);
}

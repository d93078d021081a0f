// The module _C_cuda. Importing it registers the CUDA kernels of the ops; it binds nothing.
#include <Python.h>

PyMODINIT_FUNC PyInit__C_cuda(void) {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                   "_C_cuda",
                                   "CUDA kernels of effebm_ext.",
                                   -1,
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   nullptr,
                                   nullptr};
  return PyModule_Create(&definition);
}

#include "bindings/bindings.h"

PYBIND11_MODULE(_core, m) {
  using namespace inferno::bindings;
  m.doc() = "Kernels and the step program of Inferno. Arrays in, arrays out; knows no file and no model.";
  ProgramClass program(m, "Program");
  bind_cpu(m);
  bind_program(program);
  bind_embedding(m, program);
  bind_rmsnorm(m, program);
  bind_coded(m);
  bind_matmul(m, program);
  bind_matmul_coded(m, program);
  bind_round_e4m3(m, program);
  bind_quantize(m, program);
  bind_matmul_int8(m, program);
  bind_rope(m, program);
  bind_attention(m, program);
  bind_silu_mul(m);
  bind_sampling(m);
  bind_select_rows(program);
}

#include "kernels/silu_mul.h"

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

void silu_mul(py::array out, const py::array& gate, const py::array& up, const std::string& isa) {
  float* out_data = f32_out(out, 1, "silu_mul: out");
  const float* gate_data = f32(gate, 1, "silu_mul: gate");
  const float* up_data = f32(up, 1, "silu_mul: up");
  require_shape(up, {gate.shape(0)}, "silu_mul: up", "gate");
  require_shape(out, {gate.shape(0)}, "silu_mul: out", "gate");
  require_apart_or_same(out, gate, "silu_mul: out", "gate");
  require_apart_or_same(out, up, "silu_mul: out", "up");
  kernels::SiluMul* kernel = tier(isa).kernels.silu_mul;
  py::gil_scoped_release nogil;
  kernel(out_data, gate_data, up_data, dim(gate, 0));
}

}  // namespace

void bind_silu_mul(py::module_& m) {
  m.def("silu_mul", &silu_mul, py::arg("out"), py::arg("gate"), py::arg("up"), py::kw_only(), py::arg("isa") = "");
}

}  // namespace inferno::bindings

#include "bindings/product.h"

namespace inferno::bindings {
namespace {

Stored checked_bias(const MaybeArray& bias, std::size_t n, const ProductNames& names) {
  if (!bias) return {nullptr, DType::kF32};
  const std::string what = names.of("bias");
  require_shape(*bias, {static_cast<py::ssize_t>(n)}, what, names.weight);
  return stored(*bias, what);
}

const float* of_outs_shape(const MaybeArray& a, const py::array& out, const ProductNames& names, const char* name) {
  if (!a) return nullptr;
  const std::string what = names.of(name);
  const float* data = f32(*a, 2, what);
  require_shape(*a, {out.shape(0), out.shape(1)}, what, "out");
  require_apart_or_same(out, *a, names.of("out"), name);
  return data;
}

}  // namespace

kernels::Epilogue checked_epilogue(const py::array& out, const MaybeArray& bias, const MaybeArray& gate,
                                   const MaybeArray& residual, const ProductNames& names) {
  kernels::Epilogue e;
  e.ldg = e.ldr = dim(out, 1);
  const Stored b = checked_bias(bias, dim(out, 1), names);
  if (bias) require_apart(out, *bias, names.of("out"), "bias");
  e.bias = b.data;
  e.bias_dtype = b.dtype;
  e.gate = of_outs_shape(gate, out, names, "gate");
  e.residual = of_outs_shape(residual, out, names, "residual");
  return e;
}

std::size_t checked_end(std::size_t n_begin, const std::optional<std::size_t>& n_end, std::size_t n,
                        const ProductNames& names) {
  const std::size_t end = n_end.value_or(n);
  require(n_begin <= end && end <= n, names.of("n_begin and n_end must select from ") + std::to_string(n) +
                                          " columns; got " + std::to_string(n_begin) + " and " + std::to_string(end));
  return end;
}

std::vector<Resource> RecordedProduct::reads() const {
  std::vector<Resource> all{x};
  if (gate != kNone) all.push_back(gate);
  if (residual != kNone) all.push_back(residual);
  return all;
}

RecordedProduct recorded_product(const BoundProgram& self, const std::string& out, std::size_t x, std::size_t n,
                                 const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual,
                                 std::size_t columns, const ProductNames& names) {
  const auto find = [&](const MaybeName& name, const char* what) {
    return name ? self.find(*name, n, names.of(what)) : RecordedProduct::kNone;
  };
  const Buffer& from = self.program.buffer(x);
  const RecordedProduct p{
      find(out, "out"),           x,      n, from.rows, checked_bias(bias, n, names), find(gate, "gate"),
      find(residual, "residual"), columns};
  require(p.out != x, names.of("out and x must be different buffers; got ") + out + " twice");
  for (const std::size_t id : {p.out, p.gate, p.residual}) {
    require(id == RecordedProduct::kNone || self.program.buffer(id).rows == p.rows,
            names.of("out, gate and residual must have the rows of x, buffer ") + from.name);
  }
  return p;
}

}  // namespace inferno::bindings

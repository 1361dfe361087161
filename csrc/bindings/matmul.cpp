#include "kernels/matmul.h"

#include <algorithm>

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

class MatMulOp final : public Operation {
 public:
  struct Spec {
    kernels::MatMul* kernel;
    std::size_t out, x;
    const void* w;
    std::size_t n, k;
    const void* bias;
    DType bias_dtype;
    std::size_t gate, residual;  // buffers, or kNone
    Rows rows;
  };
  explicit MatMulOp(const Spec& spec) : s_(spec) {}
  const char* name() const override { return "matmul"; }
  std::vector<Resource> reads() const override {
    std::vector<Resource> all{s_.x};
    if (s_.gate != kNone) all.push_back(s_.gate);
    if (s_.residual != kNone) all.push_back(s_.residual);
    return all;
  }
  std::vector<Resource> writes() const override { return {s_.out}; }
  std::size_t items(const Step&) const override {
    return (s_.n + kernels::kMatMulColumns - 1) / kernels::kMatMulColumns;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulArgs a{};
    a.out = step.buffer(s_.out);
    a.ldo = s_.n;
    a.x = step.buffer(s_.x);
    a.ldx = s_.k;
    a.w = s_.w;
    a.m = s_.rows == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
    a.n_begin = begin * kernels::kMatMulColumns;
    a.n_end = std::min(end * kernels::kMatMulColumns, s_.n);
    a.k = s_.k;
    a.epilogue.bias = s_.bias;
    a.epilogue.bias_dtype = s_.bias_dtype;
    if (s_.gate != kNone) a.epilogue.gate = step.buffer(s_.gate);
    if (s_.residual != kNone) a.epilogue.residual = step.buffer(s_.residual);
    a.epilogue.ldg = a.epilogue.ldr = s_.n;
    a.scratch = worker.scratch;
    s_.kernel(a);
  }

 private:
  Spec s_;
};
static_assert(kernels::kMatMulScratchBytes <= kScratchBytes);

using MaybeArray = std::optional<py::array>;
using MaybeName = std::optional<std::string>;

Stored checked_weight(const py::array& w) {
  const Stored found = stored(w, "matmul: w");
  require(w.ndim() == 2 && w.shape(0) >= 1 && w.shape(1) >= 1, "matmul: w must be (n, k); got " + describe(w));
  return found;
}

Stored checked_bias(const MaybeArray& bias, const py::array& w) {
  if (!bias) return {nullptr, DType::kF32};
  require_shape(*bias, {w.shape(0)}, "matmul: bias", "w");
  return stored(*bias, "matmul: bias");
}

void matmul(py::array out, const py::array& x, const py::array& w, const MaybeArray& bias, const MaybeArray& gate,
            const MaybeArray& residual, std::size_t n_begin, const std::optional<std::size_t>& n_end,
            const std::string& isa) {
  const Stored weight = checked_weight(w);
  kernels::MatMulArgs a{};
  a.x = f32(x, 2, "matmul: x");
  a.out = f32_out(out, 2, "matmul: out");
  require_shape(x, {x.shape(0), w.shape(1)}, "matmul: x", "w");
  require_shape(out, {x.shape(0), w.shape(0)}, "matmul: out", "x and w");
  require(a.out != a.x || x.size() == 0, "matmul: out must not be x");
  a.w = weight.data;
  a.m = dim(x, 0);
  a.k = a.ldx = dim(x, 1);
  a.ldo = a.epilogue.ldg = a.epilogue.ldr = dim(w, 0);
  a.n_begin = n_begin;
  a.n_end = n_end.value_or(dim(w, 0));
  require(a.n_begin <= a.n_end && a.n_end <= dim(w, 0),
          "matmul: n_begin and n_end must select from " + std::to_string(dim(w, 0)) + " columns; got " +
              std::to_string(a.n_begin) + " and " + std::to_string(a.n_end));
  const Stored b = checked_bias(bias, w);
  a.epilogue.bias = b.data;
  a.epilogue.bias_dtype = b.dtype;
  if (gate) {
    a.epilogue.gate = f32(*gate, 2, "matmul: gate");
    require_shape(*gate, {out.shape(0), out.shape(1)}, "matmul: gate", "out");
  }
  if (residual) {
    a.epilogue.residual = f32(*residual, 2, "matmul: residual");
    require_shape(*residual, {out.shape(0), out.shape(1)}, "matmul: residual", "out");
  }
  const Scratch scratch;
  a.scratch = scratch.get();
  kernels::MatMul* kernel = tier(isa).kernels.matmul[index_of(weight.dtype)];
  py::gil_scoped_release nogil;
  kernel(a);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const py::array& w,
            const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual) {
  const Stored weight = checked_weight(w);
  const Stored b = checked_bias(bias, w);
  const std::size_t n = dim(w, 0), k = dim(w, 1);
  MatMulOp::Spec s{};
  s.kernel = self.program.kernels().matmul[index_of(weight.dtype)];
  s.out = self.find(out, n, "matmul: out");
  s.x = self.find(x, k, "matmul: x");
  require(s.out != s.x, "matmul: out and x must be different buffers; got " + out + " twice");
  s.w = weight.data;
  s.n = n;
  s.k = k;
  s.bias = b.data;
  s.bias_dtype = b.dtype;
  s.gate = gate ? self.find(*gate, n, "matmul: gate") : kNone;
  s.residual = residual ? self.find(*residual, n, "matmul: residual") : kNone;
  s.rows = self.program.buffer(s.x).rows;
  for (const std::size_t id : {s.out, s.gate, s.residual}) {
    require(id == kNone || self.program.buffer(id).rows == s.rows,
            "matmul: out, gate and residual must have the rows of x, buffer " + x);
  }
  self.add(MatMulOp(s), {w, bias ? py::object(*bias) : py::none()});
}

}  // namespace

void bind_matmul(py::module_& m, ProgramClass& program) {
  m.def("matmul", &matmul, py::arg("out"), py::arg("x"), py::arg("w"), py::kw_only(), py::arg("bias") = py::none(),
        py::arg("gate") = py::none(), py::arg("residual") = py::none(), py::arg("n_begin") = 0,
        py::arg("n_end") = py::none(), py::arg("isa") = "");
  program.def("matmul", &record, py::arg("out"), py::arg("x"), py::arg("w"), py::kw_only(),
              py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none());
}

}  // namespace inferno::bindings

#include "kernels/matmul_coded.h"

#include <algorithm>

#include "bindings/bindings.h"
#include "bindings/coded.h"

namespace inferno::bindings {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

std::size_t index_of(CodeType type) { return static_cast<std::size_t>(type); }

class MatMulCodedOp final : public Operation {
 public:
  struct Spec {
    kernels::MatMulCoded* kernel;
    std::size_t out, x;
    const CodedMatrix* w;
    Stored bias;
    std::size_t gate, residual;  // buffers, or kNone
    Rows rows;
  };
  explicit MatMulCodedOp(const Spec& spec) : s_(spec), columns_(kernels::matmul_coded_columns(spec.w->type)) {}
  const char* name() const override { return "matmul_coded"; }
  std::vector<Resource> reads() const override {
    std::vector<Resource> all{s_.x};
    if (s_.gate != kNone) all.push_back(s_.gate);
    if (s_.residual != kNone) all.push_back(s_.residual);
    return all;
  }
  std::vector<Resource> writes() const override { return {s_.out}; }
  std::size_t items(const Step&) const override { return (s_.w->n + columns_ - 1) / columns_; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulCodedArgs a{};
    a.out = step.buffer(s_.out);
    a.ldo = s_.w->n;
    a.x = step.buffer(s_.x);
    a.ldx = s_.w->k;
    a.w = s_.w;
    a.m = s_.rows == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
    a.n_begin = begin * columns_;
    a.n_end = std::min(end * columns_, s_.w->n);
    a.epilogue.bias = s_.bias.data;
    a.epilogue.bias_dtype = s_.bias.dtype;
    if (s_.gate != kNone) a.epilogue.gate = step.buffer(s_.gate);
    if (s_.residual != kNone) a.epilogue.residual = step.buffer(s_.residual);
    a.epilogue.ldg = a.epilogue.ldr = s_.w->n;
    a.scratch = worker.scratch;
    s_.kernel(a);
  }

 private:
  Spec s_;
  std::size_t columns_;
};
static_assert(kernels::kMatMulCodedScratchBytes <= kScratchBytes);

using MaybeArray = std::optional<py::array>;
using MaybeName = std::optional<std::string>;

Stored checked_bias(const MaybeArray& bias, const CodedMatrix& w) {
  if (!bias) return {nullptr, DType::kF32};
  require_shape(*bias, {static_cast<py::ssize_t>(w.n)}, "matmul_coded: bias", "weight");
  return stored(*bias, "matmul_coded: bias");
}

void matmul_coded(py::array out, const py::array& x, const CodedWeight& weight, const MaybeArray& bias,
                  const MaybeArray& gate, const MaybeArray& residual, std::size_t n_begin,
                  const std::optional<std::size_t>& n_end, const std::string& isa) {
  const CodedMatrix& w = weight.matrix;
  kernels::MatMulCodedArgs a{};
  a.x = f32(x, 2, "matmul_coded: x");
  a.out = f32_out(out, 2, "matmul_coded: out");
  require_shape(x, {x.shape(0), static_cast<py::ssize_t>(w.k)}, "matmul_coded: x", "weight");
  require_shape(out, {x.shape(0), static_cast<py::ssize_t>(w.n)}, "matmul_coded: out", "x and weight");
  require_apart(out, x, "matmul_coded: out", "x");
  require_apart(out, weight, "matmul_coded: out");
  a.w = &w;
  a.m = dim(x, 0);
  a.ldx = w.k;
  a.ldo = a.epilogue.ldg = a.epilogue.ldr = w.n;
  a.n_begin = n_begin;
  a.n_end = n_end.value_or(w.n);
  require(a.n_begin <= a.n_end && a.n_end <= w.n, "matmul_coded: n_begin and n_end must select from " +
                                                      std::to_string(w.n) + " columns; got " +
                                                      std::to_string(a.n_begin) + " and " + std::to_string(a.n_end));
  const Stored b = checked_bias(bias, w);
  a.epilogue.bias = b.data;
  a.epilogue.bias_dtype = b.dtype;
  if (bias) require_apart(out, *bias, "matmul_coded: out", "bias");
  if (gate) {
    a.epilogue.gate = f32(*gate, 2, "matmul_coded: gate");
    require_shape(*gate, {out.shape(0), out.shape(1)}, "matmul_coded: gate", "out");
    require_apart_or_same(out, *gate, "matmul_coded: out", "gate");
  }
  if (residual) {
    a.epilogue.residual = f32(*residual, 2, "matmul_coded: residual");
    require_shape(*residual, {out.shape(0), out.shape(1)}, "matmul_coded: residual", "out");
    require_apart_or_same(out, *residual, "matmul_coded: out", "residual");
  }
  const Scratch scratch;
  a.scratch = scratch.get();
  kernels::MatMulCoded* kernel = tier(isa).kernels.matmul_coded[index_of(w.type)];
  py::gil_scoped_release nogil;
  kernel(a);
}

void record(BoundProgram& self, const std::string& out, const std::string& x,
            const std::shared_ptr<CodedWeight>& weight, const MaybeArray& bias, const MaybeName& gate,
            const MaybeName& residual) {
  const CodedMatrix& w = weight->matrix;
  MatMulCodedOp::Spec s{};
  s.w = &w;
  s.bias = checked_bias(bias, w);
  s.kernel = self.program.kernels().matmul_coded[index_of(w.type)];
  s.out = self.find(out, w.n, "matmul_coded: out");
  s.x = self.find(x, w.k, "matmul_coded: x");
  require(s.out != s.x, "matmul_coded: out and x must be different buffers; got " + out + " twice");
  s.gate = gate ? self.find(*gate, w.n, "matmul_coded: gate") : kNone;
  s.residual = residual ? self.find(*residual, w.n, "matmul_coded: residual") : kNone;
  s.rows = self.program.buffer(s.x).rows;
  for (const std::size_t id : {s.out, s.gate, s.residual}) {
    require(id == kNone || self.program.buffer(id).rows == s.rows,
            "matmul_coded: out, gate and residual must have the rows of x, buffer " + x);
  }
  self.add(MatMulCodedOp(s), {py::cast(weight), bias ? py::object(*bias) : py::none()});
}

}  // namespace

void bind_matmul_coded(py::module_& m, ProgramClass& program) {
  m.def("matmul_coded", &matmul_coded, py::arg("out"), py::arg("x"), py::arg("weight").none(false), py::kw_only(),
        py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none(),
        py::arg("n_begin") = 0, py::arg("n_end") = py::none(), py::arg("isa") = "");
  program.def("matmul_coded", &record, py::arg("out"), py::arg("x"), py::arg("weight").none(false), py::kw_only(),
              py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none());
}

}  // namespace inferno::bindings

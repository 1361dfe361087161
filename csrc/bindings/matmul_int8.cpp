#include "kernels/matmul_int8.h"

#include <algorithm>
#include <limits>

#include "bindings/bindings.h"
#include "bindings/coded.h"
#include "bindings/quantized.h"

namespace inferno::bindings {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

// The largest magnitude of a code of x.
constexpr int kLargestCode = 255;

using MaybeArray = std::optional<py::array>;
using MaybeName = std::optional<std::string>;

class MatMulInt8Op final : public Operation {
 public:
  struct Spec {
    kernels::MatMulInt8* kernel;
    std::size_t out, x;
    const CodedMatrix* w;
    bool outliers;
    const void* bias;
    DType bias_dtype;
    std::size_t gate, residual;  // buffers, or kNone
    Rows rows;
  };
  explicit MatMulInt8Op(Spec spec) : s_(spec) {}
  const char* name() const override { return "matmul_int8"; }
  std::vector<Resource> reads() const override {
    std::vector<Resource> all{s_.x};
    if (s_.gate != kNone) all.push_back(s_.gate);
    if (s_.residual != kNone) all.push_back(s_.residual);
    return all;
  }
  std::vector<Resource> writes() const override { return {s_.out}; }
  std::size_t items(const Step&) const override {
    return (s_.w->n + kernels::kMatMulInt8Columns - 1) / kernels::kMatMulInt8Columns;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulInt8Args a{};
    a.out = step.buffer(s_.out);
    a.ldo = s_.w->n;
    a.x = step.buffer(s_.x);
    a.x_bytes = quantized_row_bytes(s_.w->k, s_.outliers);
    a.outliers = s_.outliers;
    a.w = s_.w;
    a.m = s_.rows == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
    a.n_begin = begin * kernels::kMatMulInt8Columns;
    a.n_end = std::min(end * kernels::kMatMulInt8Columns, s_.w->n);
    a.epilogue.bias = s_.bias;
    a.epilogue.bias_dtype = s_.bias_dtype;
    if (s_.gate != kNone) a.epilogue.gate = step.buffer(s_.gate);
    if (s_.residual != kNone) a.epilogue.residual = step.buffer(s_.residual);
    a.epilogue.ldg = a.epilogue.ldr = s_.w->n;
    a.scratch = worker.scratch;
    s_.kernel(a);
  }

 private:
  Spec s_;
};

// The columns of a block that int32 has room for, whatever the codes.
std::size_t most_columns(const CodedMatrix& m) {
  const int low = m.type == CodeType::kI8 ? -128 : 0, high = m.type == CodeType::kI8 ? 127 : 255;
  int least = m.zeros.constant, most = m.zeros.constant;  // zeros
  if (m.zeros.type == ZeroType::kI8) {
    least = -128, most = 127;
  } else if (m.zeros.type != ZeroType::kConstant) {
    most += 255;
  }
  const int largest = std::max(most - low, high - least);
  return std::numeric_limits<std::int32_t>::max() / static_cast<std::size_t>(largest * kLargestCode);
}

kernels::MatMulInt8* kernel_for(const Tier& tier, const CodedWeight& w) {
  const CodedMatrix& m = w.matrix;
  const bool i8 = m.type == CodeType::kI8, u8 = m.type == CodeType::kU8;
  require(i8 || u8, "matmul_int8: weight must be of kind i8 or u8; got " + w.kind);
  require(m.block_of == nullptr, "matmul_int8: weight must have its columns in order of their blocks; got block_of");
  const std::size_t columns = std::min(m.k, m.block_columns), most = most_columns(m);
  require(columns <= most, "matmul_int8: blocks of weight must be at most " + std::to_string(most) +
                               " columns wide, so that int32 holds their sums; got " + std::to_string(columns));
  return tier.kernels.matmul_int8[i8 ? 0 : 1];
}

Stored checked_bias(const MaybeArray& bias, const CodedWeight& w) {
  if (!bias) return {nullptr, DType::kF32};
  require_shape(*bias, {static_cast<py::ssize_t>(w.matrix.n)}, "matmul_int8: bias", "weight");
  return stored(*bias, "matmul_int8: bias");
}

void matmul_int8(py::array out, const py::array& x, const CodedWeight& w, const MaybeArray& bias,
                 const MaybeArray& gate, const MaybeArray& residual, bool outliers, std::size_t n_begin,
                 const std::optional<std::size_t>& n_end, const std::string& isa) {
  kernels::MatMulInt8* kernel = kernel_for(tier(isa), w);
  const auto n = static_cast<py::ssize_t>(w.matrix.n), k = static_cast<py::ssize_t>(w.matrix.k);
  kernels::MatMulInt8Args a{};
  a.out = f32_out(out, 2, "matmul_int8: out");
  a.x = quantized_data(x, out.shape(0), k, outliers, "matmul_int8: x");
  require_shape(out, {out.shape(0), n}, "matmul_int8: out", "weight");
  a.ldo = a.epilogue.ldg = a.epilogue.ldr = w.matrix.n;
  a.x_bytes = dim(x, 1);
  a.outliers = outliers;
  require_apart(out, x, "matmul_int8: out", "x");
  require_apart(out, w, "matmul_int8: out");
  if (outliers) check_outliers(a.x, dim(out, 0), w.matrix.k, "matmul_int8: x");
  a.w = &w.matrix;
  a.m = dim(out, 0);
  a.n_begin = n_begin;
  a.n_end = n_end.value_or(w.matrix.n);
  require(a.n_begin <= a.n_end && a.n_end <= w.matrix.n,
          "matmul_int8: n_begin and n_end must select from " + std::to_string(n) + " columns; got " +
              std::to_string(a.n_begin) + " and " + std::to_string(a.n_end));
  const Stored b = checked_bias(bias, w);
  a.epilogue.bias = b.data;
  a.epilogue.bias_dtype = b.dtype;
  if (bias) require_apart(out, *bias, "matmul_int8: out", "bias");
  if (gate) {
    a.epilogue.gate = f32(*gate, 2, "matmul_int8: gate");
    require_shape(*gate, {out.shape(0), n}, "matmul_int8: gate", "out");
    require_apart_or_same(out, *gate, "matmul_int8: out", "gate");
  }
  if (residual) {
    a.epilogue.residual = f32(*residual, 2, "matmul_int8: residual");
    require_shape(*residual, {out.shape(0), n}, "matmul_int8: residual", "out");
    require_apart_or_same(out, *residual, "matmul_int8: out", "residual");
  }
  const Scratch scratch;
  a.scratch = scratch.get();
  py::gil_scoped_release nogil;
  kernel(a);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const py::object& weight,
            const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual) {
  const auto& w = weight.cast<const CodedWeight&>();
  MatMulInt8Op::Spec s{};
  s.kernel = kernel_for(self.program.tier(), w);
  const Stored b = checked_bias(bias, w);
  s.w = &w.matrix;
  s.out = self.find(out, w.matrix.n, "matmul_int8: out");
  s.x = self.find_quantized(x, w.matrix.k, "matmul_int8: x");
  s.bias = b.data;
  s.bias_dtype = b.dtype;
  s.gate = gate ? self.find(*gate, w.matrix.n, "matmul_int8: gate") : kNone;
  s.residual = residual ? self.find(*residual, w.matrix.n, "matmul_int8: residual") : kNone;
  s.rows = self.program.buffer(s.x).rows;
  s.outliers = self.program.buffer(s.x).holds == Holds::kCodesAndOutliers;
  for (const std::size_t id : {s.out, s.gate, s.residual}) {
    require(id == kNone || self.program.buffer(id).rows == s.rows,
            "matmul_int8: out, gate and residual must have the rows of x, buffer " + x);
  }
  self.add(MatMulInt8Op(s), {weight, bias ? py::object(*bias) : py::none()});
}

}  // namespace

void bind_matmul_int8(py::module_& m, ProgramClass& program) {
  m.def("matmul_int8", &matmul_int8, py::arg("out"), py::arg("x"), py::arg("weight"), py::kw_only(),
        py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none(),
        py::arg("outliers") = false, py::arg("n_begin") = 0, py::arg("n_end") = py::none(), py::arg("isa") = "");
  program.def("matmul_int8", &record, py::arg("out"), py::arg("x"), py::arg("weight"), py::kw_only(),
              py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none());
}

}  // namespace inferno::bindings

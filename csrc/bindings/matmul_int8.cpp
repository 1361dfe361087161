#include "kernels/matmul_int8.h"

#include <algorithm>
#include <limits>

#include "bindings/coded.h"
#include "bindings/product.h"
#include "bindings/quantized.h"

namespace inferno::bindings {
namespace {

constexpr ProductNames kNames{"matmul_int8", "weight"};

// The largest magnitude of a code of x.
constexpr int kLargestCode = 255;

class MatMulInt8Op final : public Operation {
 public:
  MatMulInt8Op(kernels::MatMulInt8* kernel, const RecordedProduct& product, const CodedMatrix& w, bool outliers)
      : kernel_(kernel), p_(product), w_(w), outliers_(outliers) {}
  const char* name() const override { return "matmul_int8"; }
  std::vector<Resource> reads() const override { return p_.reads(); }
  std::vector<Resource> writes() const override { return {p_.out}; }
  std::size_t items(const Step&) const override { return p_.items(); }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulInt8Args a{};
    p_.set(a, step, begin, end, worker);
    a.x_bytes = quantized_row_bytes(w_.k, outliers_);
    a.outliers = outliers_;
    a.w = &w_;
    kernel_(a);
  }

 private:
  kernels::MatMulInt8* kernel_;
  RecordedProduct p_;
  const CodedMatrix& w_;
  bool outliers_;
};
static_assert(kernels::kMatMulScratchBytes <= kScratchBytes);

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

void matmul_int8(py::array out, const py::array& x, const CodedWeight& w, const MaybeArray& bias,
                 const MaybeArray& gate, const MaybeArray& residual, bool outliers, std::size_t n_begin,
                 const std::optional<std::size_t>& n_end, const std::string& isa) {
  kernels::MatMulInt8* kernel = kernel_for(tier(isa), w);
  const auto n = static_cast<py::ssize_t>(w.matrix.n), k = static_cast<py::ssize_t>(w.matrix.k);
  kernels::MatMulInt8Args a{};
  a.out = f32_out(out, 2, "matmul_int8: out");
  a.x = quantized_data(x, out.shape(0), k, outliers, "matmul_int8: x");
  require_shape(out, {out.shape(0), n}, "matmul_int8: out", "weight");
  a.ldo = w.matrix.n;
  a.x_bytes = dim(x, 1);
  a.outliers = outliers;
  require_apart(out, x, "matmul_int8: out", "x");
  require_apart(out, w, "matmul_int8: out");
  if (outliers) check_outliers(a.x, dim(out, 0), w.matrix.k, "matmul_int8: x");
  a.w = &w.matrix;
  a.m = dim(out, 0);
  a.n_begin = n_begin;
  a.n_end = checked_end(n_begin, n_end, w.matrix.n, kNames);
  a.epilogue = checked_epilogue(out, bias, gate, residual, kNames);
  const Scratch scratch;
  a.scratch = scratch.get();
  py::gil_scoped_release nogil;
  kernel(a);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const py::object& weight,
            const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual) {
  const auto& w = weight.cast<const CodedWeight&>();
  kernels::MatMulInt8* kernel = kernel_for(self.program.tier(), w);
  const std::size_t x_id = self.find_quantized(x, w.matrix.k, "matmul_int8: x");
  const RecordedProduct product =
      recorded_product(self, out, x_id, w.matrix.n, bias, gate, residual, kernels::kMatMulInt8Columns, kNames);
  const bool outliers = self.program.buffer(x_id).holds == Holds::kCodesAndOutliers;
  self.add(MatMulInt8Op(kernel, product, w.matrix, outliers), {weight, bias ? py::object(*bias) : py::none()});
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

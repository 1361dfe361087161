#include "kernels/matmul.h"

#include <algorithm>

#include "bindings/matrix.h"
#include "bindings/product.h"

namespace inferno::bindings {
namespace {

constexpr ProductNames kNames{"matmul", "w"};

// A weight matrix where it lies: in blocks of rows, each of which gives a block of out's columns, or in segments of k.
struct Weight {
  DType dtype;
  std::size_t n, k;
  std::vector<Piece> blocks;               // of rows; none if w is cut along k
  std::vector<kernels::Segment> segments;  // one for each block, or those of k
};

// Columns [a.n_begin, a.n_end) of the product with w.
void multiply(kernels::MatMul* kernel, const kernels::MatMulArgs& a, const Weight& w) {
  if (w.blocks.empty()) {
    kernels::MatMulArgs whole = a;
    whole.segments = w.segments.data();
    whole.segment_count = w.segments.size();
    return kernel(whole);
  }
  for (std::size_t b = 0; b < w.blocks.size(); ++b) {
    const std::size_t first = w.blocks[b].begin;
    const std::size_t begin = std::max(a.n_begin, first), end = std::min(a.n_end, w.blocks[b].end());
    if (begin >= end) continue;
    kernels::MatMulArgs block = a;
    block.segments = &w.segments[b];
    block.segment_count = 1;
    block.n_begin = begin - first;
    block.n_end = end - first;
    block.out += first;
    kernels::Epilogue& e = block.epilogue;
    if (e.bias != nullptr) e.bias = static_cast<const char*>(e.bias) + first * size_of(e.bias_dtype);
    if (e.gate != nullptr) e.gate += first;
    if (e.residual != nullptr) e.residual += first;
    kernel(block);
  }
}

class MatMulOp final : public Operation {
 public:
  MatMulOp(kernels::MatMul* kernel, const RecordedProduct& product, Weight w)
      : kernel_(kernel), p_(product), w_(std::move(w)) {}
  const char* name() const override { return "matmul"; }
  std::vector<Resource> reads() const override { return p_.reads(); }
  std::vector<Resource> writes() const override { return {p_.out}; }
  std::size_t items(const Step&) const override { return p_.items(); }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulArgs a{};
    p_.set(a, step, begin, end, worker);
    a.ldx = w_.k;
    multiply(kernel_, a, w_);
  }

 private:
  kernels::MatMul* kernel_;
  RecordedProduct p_;
  Weight w_;
};
static_assert(kernels::kMatMulScratchBytes <= kScratchBytes);

Weight checked_weight(const MatrixArgument& w, py::ssize_t axis) {
  const Matrix found = matrix(w, axis, "matmul: w", "(n, k)");
  Weight weight{found.dtype, found.rows, found.columns, {}, {}};
  if (found.axis == 0) {
    weight.blocks = found.pieces;
    for (const Piece& piece : found.pieces) weight.segments.push_back({piece.data, found.columns});
    return weight;
  }
  for (const Piece& piece : found.pieces) {
    require(piece.begin % kernels::kMatMulAlign == 0, "matmul: w must be cut along k at multiples of " +
                                                          std::to_string(kernels::kMatMulAlign) + "; got a cut at " +
                                                          std::to_string(piece.begin));
    weight.segments.push_back({piece.data, piece.extent});
  }
  return weight;
}

void matmul(py::array out, const py::array& x, const MatrixArgument& w, py::ssize_t axis, const MaybeArray& bias,
            const MaybeArray& gate, const MaybeArray& residual, std::size_t n_begin,
            const std::optional<std::size_t>& n_end, const std::string& isa) {
  const Weight weight = checked_weight(w, axis);
  kernels::MatMulArgs a{};
  a.x = f32(x, 2, "matmul: x");
  a.out = f32_out(out, 2, "matmul: out");
  require_shape(x, {x.shape(0), static_cast<py::ssize_t>(weight.k)}, "matmul: x", "w");
  require_shape(out, {x.shape(0), static_cast<py::ssize_t>(weight.n)}, "matmul: out", "x and w");
  require_apart(out, x, "matmul: out", "x");
  require_apart(out, w, "matmul: out", "w");
  a.m = dim(x, 0);
  a.ldx = weight.k;
  a.ldo = weight.n;
  a.n_begin = n_begin;
  a.n_end = checked_end(n_begin, n_end, weight.n, kNames);
  a.epilogue = checked_epilogue(out, bias, gate, residual, kNames);
  const Scratch scratch;
  a.scratch = scratch.get();
  kernels::MatMul* kernel = tier(isa).kernels.matmul[index_of(weight.dtype)];
  py::gil_scoped_release nogil;
  multiply(kernel, a, weight);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const MatrixArgument& w, py::ssize_t axis,
            const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual) {
  Weight weight = checked_weight(w, axis);
  kernels::MatMul* kernel = self.program.kernels().matmul[index_of(weight.dtype)];
  const RecordedProduct product = recorded_product(self, out, self.find(x, weight.k, "matmul: x"), weight.n, bias, gate,
                                                   residual, kernels::kMatMulColumns, kNames);
  self.add(MatMulOp(kernel, product, std::move(weight)), {arrays(w), bias ? py::object(*bias) : py::none()});
}

}  // namespace

void bind_matmul(py::module_& m, ProgramClass& program) {
  m.attr("K_ALIGN") = kernels::kMatMulAlign;
  m.def("matmul", &matmul, py::arg("out"), py::arg("x"), py::arg("w"), py::kw_only(), py::arg("axis") = 0,
        py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none(),
        py::arg("n_begin") = 0, py::arg("n_end") = py::none(), py::arg("isa") = "");
  program.def("matmul", &record, py::arg("out"), py::arg("x"), py::arg("w"), py::kw_only(), py::arg("axis") = 0,
              py::arg("bias") = py::none(), py::arg("gate") = py::none(), py::arg("residual") = py::none());
}

}  // namespace inferno::bindings

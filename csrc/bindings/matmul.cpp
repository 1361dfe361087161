#include "kernels/matmul.h"

#include <algorithm>

#include "bindings/bindings.h"
#include "bindings/matrix.h"

namespace inferno::bindings {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

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
  struct Spec {
    kernels::MatMul* kernel;
    std::size_t out, x;
    Weight w;
    const void* bias;
    DType bias_dtype;
    std::size_t gate, residual;  // buffers, or kNone
    Rows rows;
  };
  explicit MatMulOp(Spec spec) : s_(std::move(spec)) {}
  const char* name() const override { return "matmul"; }
  std::vector<Resource> reads() const override {
    std::vector<Resource> all{s_.x};
    if (s_.gate != kNone) all.push_back(s_.gate);
    if (s_.residual != kNone) all.push_back(s_.residual);
    return all;
  }
  std::vector<Resource> writes() const override { return {s_.out}; }
  std::size_t items(const Step&) const override {
    return (s_.w.n + kernels::kMatMulColumns - 1) / kernels::kMatMulColumns;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulArgs a{};
    a.out = step.buffer(s_.out);
    a.ldo = s_.w.n;
    a.x = step.buffer(s_.x);
    a.ldx = s_.w.k;
    a.m = s_.rows == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
    a.n_begin = begin * kernels::kMatMulColumns;
    a.n_end = std::min(end * kernels::kMatMulColumns, s_.w.n);
    a.epilogue.bias = s_.bias;
    a.epilogue.bias_dtype = s_.bias_dtype;
    if (s_.gate != kNone) a.epilogue.gate = step.buffer(s_.gate);
    if (s_.residual != kNone) a.epilogue.residual = step.buffer(s_.residual);
    a.epilogue.ldg = a.epilogue.ldr = s_.w.n;
    a.scratch = worker.scratch;
    multiply(s_.kernel, a, s_.w);
  }

 private:
  Spec s_;
};
static_assert(kernels::kMatMulScratchBytes <= kScratchBytes);

using MaybeArray = std::optional<py::array>;
using MaybeName = std::optional<std::string>;

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

Stored checked_bias(const MaybeArray& bias, const Weight& w) {
  if (!bias) return {nullptr, DType::kF32};
  require_shape(*bias, {static_cast<py::ssize_t>(w.n)}, "matmul: bias", "w");
  return stored(*bias, "matmul: bias");
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
  a.ldo = a.epilogue.ldg = a.epilogue.ldr = weight.n;
  a.n_begin = n_begin;
  a.n_end = n_end.value_or(weight.n);
  require(a.n_begin <= a.n_end && a.n_end <= weight.n,
          "matmul: n_begin and n_end must select from " + std::to_string(weight.n) + " columns; got " +
              std::to_string(a.n_begin) + " and " + std::to_string(a.n_end));
  const Stored b = checked_bias(bias, weight);
  a.epilogue.bias = b.data;
  a.epilogue.bias_dtype = b.dtype;
  if (bias) require_apart(out, *bias, "matmul: out", "bias");
  if (gate) {
    a.epilogue.gate = f32(*gate, 2, "matmul: gate");
    require_shape(*gate, {out.shape(0), out.shape(1)}, "matmul: gate", "out");
    require_apart_or_same(out, *gate, "matmul: out", "gate");
  }
  if (residual) {
    a.epilogue.residual = f32(*residual, 2, "matmul: residual");
    require_shape(*residual, {out.shape(0), out.shape(1)}, "matmul: residual", "out");
    require_apart_or_same(out, *residual, "matmul: out", "residual");
  }
  const Scratch scratch;
  a.scratch = scratch.get();
  kernels::MatMul* kernel = tier(isa).kernels.matmul[index_of(weight.dtype)];
  py::gil_scoped_release nogil;
  multiply(kernel, a, weight);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const MatrixArgument& w, py::ssize_t axis,
            const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual) {
  MatMulOp::Spec s{};
  s.w = checked_weight(w, axis);
  const Stored b = checked_bias(bias, s.w);
  s.kernel = self.program.kernels().matmul[index_of(s.w.dtype)];
  s.out = self.find(out, s.w.n, "matmul: out");
  s.x = self.find(x, s.w.k, "matmul: x");
  require(s.out != s.x, "matmul: out and x must be different buffers; got " + out + " twice");
  s.bias = b.data;
  s.bias_dtype = b.dtype;
  s.gate = gate ? self.find(*gate, s.w.n, "matmul: gate") : kNone;
  s.residual = residual ? self.find(*residual, s.w.n, "matmul: residual") : kNone;
  s.rows = self.program.buffer(s.x).rows;
  for (const std::size_t id : {s.out, s.gate, s.residual}) {
    require(id == kNone || self.program.buffer(id).rows == s.rows,
            "matmul: out, gate and residual must have the rows of x, buffer " + x);
  }
  self.add(MatMulOp(std::move(s)), {arrays(w), bias ? py::object(*bias) : py::none()});
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

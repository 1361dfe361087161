#include "kernels/matmul_coded.h"

#include "bindings/coded.h"
#include "bindings/product.h"

namespace inferno::bindings {
namespace {

constexpr ProductNames kNames{"matmul_coded", "weight"};

std::size_t index_of(CodeType type) { return static_cast<std::size_t>(type); }

class MatMulCodedOp final : public Operation {
 public:
  MatMulCodedOp(kernels::MatMulCoded* kernel, const RecordedProduct& product, const CodedMatrix& w)
      : kernel_(kernel), p_(product), w_(w) {}
  const char* name() const override { return "matmul_coded"; }
  std::vector<Resource> reads() const override { return p_.reads(); }
  std::vector<Resource> writes() const override { return {p_.out}; }
  std::size_t items(const Step&) const override { return p_.items(); }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    kernels::MatMulCodedArgs a{};
    p_.set(a, step, begin, end, worker);
    a.ldx = w_.k;
    a.w = &w_;
    kernel_(a);
  }

 private:
  kernels::MatMulCoded* kernel_;
  RecordedProduct p_;
  const CodedMatrix& w_;
};
static_assert(kernels::kMatMulCodedScratchBytes <= kScratchBytes);

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
  a.ldo = w.n;
  a.n_begin = n_begin;
  a.n_end = checked_end(n_begin, n_end, w.n, kNames);
  a.epilogue = checked_epilogue(out, bias, gate, residual, kNames);
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
  const RecordedProduct product = recorded_product(self, out, self.find(x, w.k, "matmul_coded: x"), w.n, bias, gate,
                                                   residual, kernels::matmul_coded_columns(w.type), kNames);
  self.add(MatMulCodedOp(self.program.kernels().matmul_coded[index_of(w.type)], product, w),
           {py::cast(weight), bias ? py::object(*bias) : py::none()});
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

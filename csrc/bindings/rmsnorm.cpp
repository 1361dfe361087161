#include "kernels/rmsnorm.h"

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

class RmsNormOp final : public Operation {
 public:
  RmsNormOp(kernels::RmsNorm* kernel, std::size_t out, std::size_t x, const void* weight, std::size_t dim, float eps,
            Rows rows)
      : kernel_(kernel), out_(out), x_(x), weight_(weight), dim_(dim), eps_(eps), rows_(rows) {}
  const char* name() const override { return "rmsnorm"; }
  std::vector<Resource> reads() const override { return {x_}; }
  std::vector<Resource> writes() const override { return {out_}; }
  std::size_t items(const Step& step) const override {
    return rows_ == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    kernel_(step.buffer(out_) + begin * dim_, step.buffer(x_) + begin * dim_, weight_, end - begin, dim_, eps_);
  }

 private:
  kernels::RmsNorm* kernel_;
  std::size_t out_, x_;
  const void* weight_;
  std::size_t dim_;
  float eps_;
  Rows rows_;
};

void rmsnorm(py::array out, const py::array& x, const py::array& weight, float eps, const std::string& isa) {
  const float* x_data = f32(x, 2, "rmsnorm: x");
  float* out_data = f32_out(out, 2, "rmsnorm: out");
  const Stored w = stored(weight, "rmsnorm: weight");
  require(x.shape(1) >= 1, "rmsnorm: x must have at least one column; got " + describe(x));
  require_shape(out, {x.shape(0), x.shape(1)}, "rmsnorm: out", "x");
  require_shape(weight, {x.shape(1)}, "rmsnorm: weight", "x");
  require_apart_or_same(out, x, "rmsnorm: out", "x");
  require_apart(out, weight, "rmsnorm: out", "weight");
  kernels::RmsNorm* kernel = tier(isa).kernels.rmsnorm[index_of(w.dtype)];
  py::gil_scoped_release nogil;
  kernel(out_data, x_data, w.data, dim(x, 0), dim(x, 1), eps);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const py::array& weight, float eps) {
  const Stored w = stored(weight, "rmsnorm: weight");
  require(weight.ndim() == 1 && weight.shape(0) >= 1, "rmsnorm: weight must be (dim,); got " + describe(weight));
  const std::size_t n = dim(weight, 0);
  const std::size_t out_id = self.find(out, n, "rmsnorm: out"), x_id = self.find(x, n, "rmsnorm: x");
  const Rows rows = self.program.buffer(x_id).rows;
  require(self.program.buffer(out_id).rows == rows,
          "rmsnorm: out and x must have the same rows; got " + out + ", " + x);
  self.add(RmsNormOp(self.program.kernels().rmsnorm[index_of(w.dtype)], out_id, x_id, w.data, n, eps, rows), {weight});
}

}  // namespace

void bind_rmsnorm(py::module_& m, ProgramClass& program) {
  m.def("rmsnorm", &rmsnorm, py::arg("out"), py::arg("x"), py::arg("weight"), py::arg("eps"), py::kw_only(),
        py::arg("isa") = "");
  program.def("rmsnorm", &record, py::arg("out"), py::arg("x"), py::arg("weight"), py::arg("eps"));
}

}  // namespace inferno::bindings

#include "kernels/round_e4m3.h"

#include <cmath>

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

class RoundE4M3Op final : public Operation {
 public:
  RoundE4M3Op(kernels::RoundE4M3* kernel, std::size_t out, std::size_t x, std::size_t dim,
              kernels::E4M3Rounding rounding, Rows rows)
      : kernel_(kernel), out_(out), x_(x), dim_(dim), rounding_(rounding), rows_(rows) {}
  const char* name() const override { return "round_e4m3"; }
  std::vector<Resource> reads() const override { return {x_}; }
  std::vector<Resource> writes() const override { return {out_}; }
  std::size_t items(const Step& step) const override {
    return rows_ == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    kernel_(step.buffer(out_) + begin * dim_, step.buffer(x_) + begin * dim_, end - begin, dim_, rounding_);
  }

 private:
  kernels::RoundE4M3* kernel_;
  std::size_t out_, x_, dim_;
  kernels::E4M3Rounding rounding_;
  Rows rows_;
};

kernels::E4M3Rounding checked_rounding(const std::optional<double>& scale, py::ssize_t group, bool reciprocal,
                                       std::size_t dim) {
  const auto single = static_cast<float>(scale.value_or(0));
  // Its reciprocal must be a float32 too.
  require(!scale || (single > 0 && std::isfinite(single) && std::isfinite(1 / single)),
          "round_e4m3: scale must be positive, finite and at least 3e-39; got " + text(scale.value_or(0)));
  require(group >= 0, "round_e4m3: group must be >= 0; got " + std::to_string(group));
  require(!scale || group == 0, "round_e4m3: group must be 0 under a fixed scale; got " + std::to_string(group));
  return {single, group == 0 ? dim : static_cast<std::size_t>(group), reciprocal};
}

void round_e4m3(py::array out, const py::array& x, const std::optional<double>& scale, py::ssize_t group,
                bool reciprocal, const std::string& isa) {
  const float* x_data = f32(x, 2, "round_e4m3: x");
  float* out_data = f32_out(out, 2, "round_e4m3: out");
  require(x.shape(1) >= 1, "round_e4m3: x must have at least one column; got " + describe(x));
  require_shape(out, {x.shape(0), x.shape(1)}, "round_e4m3: out", "x");
  require_apart_or_same(out, x, "round_e4m3: out", "x");
  const kernels::E4M3Rounding rounding = checked_rounding(scale, group, reciprocal, dim(x, 1));
  kernels::RoundE4M3* kernel = tier(isa).kernels.round_e4m3;
  py::gil_scoped_release nogil;
  kernel(out_data, x_data, dim(x, 0), dim(x, 1), rounding);
}

void record(BoundProgram& self, const std::string& out, const std::string& x, const std::optional<double>& scale,
            py::ssize_t group, bool reciprocal) {
  const std::size_t x_id = self.find(x, 0, "round_e4m3: x"), dim = self.program.buffer(x_id).width;
  const std::size_t out_id = self.find(out, dim, "round_e4m3: out");
  const Rows rows = self.program.buffer(x_id).rows;
  require(self.program.buffer(out_id).rows == rows,
          "round_e4m3: out and x must have the same rows; got " + out + ", " + x);
  const kernels::E4M3Rounding rounding = checked_rounding(scale, group, reciprocal, dim);
  self.add(RoundE4M3Op(self.program.kernels().round_e4m3, out_id, x_id, dim, rounding, rows), {});
}

}  // namespace

void bind_round_e4m3(py::module_& m, ProgramClass& program) {
  m.def("round_e4m3", &round_e4m3, py::arg("out"), py::arg("x"), py::kw_only(), py::arg("scale") = py::none(),
        py::arg("group") = 0, py::arg("reciprocal") = true, py::arg("isa") = "");
  program.def("round_e4m3", &record, py::arg("out"), py::arg("x"), py::kw_only(), py::arg("scale") = py::none(),
              py::arg("group") = 0, py::arg("reciprocal") = true);
}

}  // namespace inferno::bindings

#include "kernels/rope.h"

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

class RopeAnglesOp final : public Operation {
 public:
  RopeAnglesOp(kernels::RopeAngles* kernel, std::size_t out, const float* inv_freq, std::size_t half, float factor)
      : kernel_(kernel), out_(out), inv_freq_(inv_freq), half_(half), factor_(factor) {}
  const char* name() const override { return "rope_angles"; }
  std::vector<Resource> reads() const override { return {}; }
  std::vector<Resource> writes() const override { return {out_}; }
  std::size_t items(const Step& step) const override { return step.batch.tokens; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    kernel_(step.buffer(out_) + begin * 2 * half_, step.positions.data() + begin, inv_freq_, end - begin, half_,
            factor_);
  }

 private:
  kernels::RopeAngles* kernel_;
  std::size_t out_;
  const float* inv_freq_;
  std::size_t half_;
  float factor_;
};

class RopeOp final : public Operation {
 public:
  RopeOp(kernels::Rope* kernel, std::size_t out, std::size_t x, std::size_t angles, std::size_t heads, std::size_t half)
      : kernel_(kernel), out_(out), x_(x), angles_(angles), heads_(heads), half_(half) {}
  const char* name() const override { return "rope"; }
  std::vector<Resource> reads() const override { return {x_, angles_}; }
  std::vector<Resource> writes() const override { return {out_}; }
  std::size_t items(const Step& step) const override { return step.batch.tokens; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    const std::size_t row = heads_ * 2 * half_;
    kernel_(step.buffer(out_) + begin * row, step.buffer(x_) + begin * row, step.buffer(angles_) + begin * 2 * half_,
            end - begin, heads_, half_);
  }

 private:
  kernels::Rope* kernel_;
  std::size_t out_, x_, angles_, heads_, half_;
};

kernels::Rope* kernel_of(const Tier& t, bool interleaved) {
  return interleaved ? t.kernels.rope_interleaved : t.kernels.rope_half_split;
}

void rope_angles(py::array out, const py::array& positions, const py::array& inv_freq, float factor,
                 const std::string& isa) {
  float* out_data = f32_out(out, 2, "rope_angles: out");
  const std::int32_t* position_data = i32(positions, 1, "rope_angles: positions");
  const float* freq_data = f32(inv_freq, 1, "rope_angles: inv_freq");
  require_shape(out, {positions.shape(0), 2 * inv_freq.shape(0)}, "rope_angles: out", "positions and inv_freq");
  require_apart(out, positions, "rope_angles: out", "positions");
  require_apart(out, inv_freq, "rope_angles: out", "inv_freq");
  kernels::RopeAngles* kernel = tier(isa).kernels.rope_angles;
  py::gil_scoped_release nogil;
  kernel(out_data, position_data, freq_data, dim(positions, 0), dim(inv_freq, 0), factor);
}

void rope(py::array out, const py::array& x, const py::array& angles, bool interleaved, const std::string& isa) {
  float* out_data = f32_out(out, 3, "rope: out");
  const float* x_data = f32(x, 3, "rope: x");
  const float* angle_data = f32(angles, 2, "rope: angles");
  require(x.shape(2) >= 2 && x.shape(2) % 2 == 0, "rope: x must have an even last dimension; got " + describe(x));
  require_shape(out, {x.shape(0), x.shape(1), x.shape(2)}, "rope: out", "x");
  require_shape(angles, {x.shape(0), x.shape(2)}, "rope: angles", "x");
  if (interleaved) {
    require_apart(out, x, "rope: out", "x in interleaved order");
  } else {
    require_apart_or_same(out, x, "rope: out", "x");
  }
  require_apart(out, angles, "rope: out", "angles");
  kernels::Rope* kernel = kernel_of(tier(isa), interleaved);
  py::gil_scoped_release nogil;
  kernel(out_data, x_data, angle_data, dim(x, 0), dim(x, 1), dim(x, 2) / 2);
}

void record_angles(BoundProgram& self, const std::string& out, const py::array& inv_freq, float factor) {
  const float* freq = f32(inv_freq, 1, "rope_angles: inv_freq");
  const std::size_t half = dim(inv_freq, 0), id = self.find_tokens(out, 2 * half, "rope_angles: out");
  self.add(RopeAnglesOp(self.program.kernels().rope_angles, id, freq, half, factor), {inv_freq});
}

void record_rope(BoundProgram& self, const std::string& out, const std::string& x, const std::string& angles,
                 bool interleaved) {
  const std::size_t angle_id = self.find_tokens(angles, 0, "rope: angles");
  const std::size_t head_dim = self.program.buffer(angle_id).width;
  require(head_dim % 2 == 0, "rope: angles must be an even number wide; got " + std::to_string(head_dim));
  const std::size_t x_id = self.find_tokens(x, 0, "rope: x"), width = self.program.buffer(x_id).width;
  require(width % head_dim == 0,
          "rope: x must be a multiple of " + std::to_string(head_dim) + " wide; got " + std::to_string(width));
  const std::size_t out_id = self.find_tokens(out, width, "rope: out");
  require(!interleaved || out_id != x_id, "rope: out must not be x in interleaved order");
  self.add(RopeOp(kernel_of(self.program.tier(), interleaved), out_id, x_id, angle_id, width / head_dim, head_dim / 2),
           {});
}

}  // namespace

void bind_rope(py::module_& m, ProgramClass& program) {
  m.def("rope_angles", &rope_angles, py::arg("out"), py::arg("positions"), py::arg("inv_freq"), py::arg("factor"),
        py::kw_only(), py::arg("isa") = "");
  m.def("rope", &rope, py::arg("out"), py::arg("x"), py::arg("angles"), py::kw_only(), py::arg("interleaved") = false,
        py::arg("isa") = "");
  program.def("rope_angles", &record_angles, py::arg("out"), py::arg("inv_freq"), py::arg("factor"));
  program.def("rope", &record_rope, py::arg("out"), py::arg("x"), py::arg("angles"), py::kw_only(),
              py::arg("interleaved") = false);
}

}  // namespace inferno::bindings

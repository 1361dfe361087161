#include "kernels/quantize.h"

#include <cmath>

#include "bindings/bindings.h"
#include "bindings/quantized.h"

namespace inferno::bindings {
namespace {

constexpr std::pair<const char*, QuantizeRule> kRules[] = {
    {"absmax127", QuantizeRule::kAbsmax127},
    {"absmax127.5", QuantizeRule::kAbsmax127_5},
    {"range-as-served", QuantizeRule::kRangeAsServed},
    {"range", QuantizeRule::kRange},
    {"static-as-served", QuantizeRule::kStaticAsServed},
    {"static", QuantizeRule::kStatic},
};

Quantization checked_rule(const std::string& rule, double scale, int zero, double threshold, const std::string& what) {
  std::string names;
  const QuantizeRule* found = nullptr;
  for (const auto& [name, value] : kRules) {
    names += (names.empty() ? "" : ", ") + std::string(name);
    if (rule == name) found = &value;
  }
  require(found != nullptr, what + ": rule must be one of " + names + "; got " + rule);
  const auto positive = [](double v) { return std::isfinite(static_cast<float>(v)) && static_cast<float>(v) > 0; };
  require(positive(scale) && std::isfinite(1 / static_cast<float>(scale)),
          what + ": scale must be positive and finite, and so its reciprocal in float32; got " + text(scale));
  require(zero >= -128 && zero <= 127, what + ": zero must be in [-128, 127]; got " + std::to_string(zero));
  require(threshold == 0 || positive(threshold),
          what + ": threshold must be 0, or positive and finite; got " + text(threshold));
  return {*found, static_cast<float>(scale), zero, static_cast<float>(threshold)};
}

class QuantizeOp final : public Operation {
 public:
  QuantizeOp(kernels::Quantize* kernel, std::size_t out, std::size_t x, std::size_t k, Quantization how, Rows rows)
      : kernel_(kernel), out_(out), x_(x), k_(k), how_(how), rows_(rows) {}
  const char* name() const override { return "quantize"; }
  std::vector<Resource> reads() const override { return {x_}; }
  std::vector<Resource> writes() const override { return {out_}; }
  std::size_t items(const Step& step) const override {
    return rows_ == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    kernel_(quantized_row(step.buffer(out_), begin, k_, how_), step.buffer(x_) + begin * k_, end - begin, k_, how_);
  }

 private:
  kernels::Quantize* kernel_;
  std::size_t out_, x_, k_;
  Quantization how_;
  Rows rows_;
};

class RmsNormQuantizeOp final : public Operation {
 public:
  struct Spec {
    kernels::RmsNormQuantize* kernel;
    std::size_t out, x;
    const void* weight;
    std::size_t k;
    float eps;
    Quantization how;
    Rows rows;
  };
  explicit RmsNormQuantizeOp(Spec spec) : s_(spec) {}
  const char* name() const override { return "rmsnorm_quantize"; }
  std::vector<Resource> reads() const override { return {s_.x}; }
  std::vector<Resource> writes() const override { return {s_.out}; }
  std::size_t items(const Step& step) const override {
    return s_.rows == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
  }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    s_.kernel(quantized_row(step.buffer(s_.out), begin, s_.k, s_.how), step.buffer(s_.x) + begin * s_.k, s_.weight,
              end - begin, s_.k, s_.eps, s_.how);
  }

 private:
  Spec s_;
};

py::array quantized_rows(py::ssize_t rows, py::ssize_t k, bool outliers) {
  constexpr py::ssize_t kEnd = py::ssize_t{1} << 30;
  require(rows >= 0 && rows < kEnd && k >= 1 && k < kEnd,
          "quantized_rows: rows must be in [0, " + std::to_string(kEnd - 1) + "] and k in [1, " +
              std::to_string(kEnd - 1) + "]; got " + std::to_string(rows) + ", " + std::to_string(k));
  const std::size_t bytes = quantized_row_bytes(static_cast<std::size_t>(k), outliers);
  const std::size_t total = bytes * std::max<std::size_t>(static_cast<std::size_t>(rows), 1);
  void* memory = std::aligned_alloc(64, total);
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, total);
  const py::capsule owner(memory, [](void* p) { std::free(p); });
  return py::array_t<std::uint8_t>({rows, static_cast<py::ssize_t>(bytes)}, static_cast<std::uint8_t*>(memory), owner);
}

void quantize(py::array out, const py::array& x, const std::string& rule, double scale, int zero, double threshold,
              const std::string& isa) {
  const Quantization how = checked_rule(rule, scale, zero, threshold, "quantize");
  const float* x_data = f32(x, 2, "quantize: x");
  require(x.shape(1) >= 1, "quantize: x must have at least one column; got " + describe(x));
  void* rows = quantized_out(out, x.shape(0), x.shape(1), threshold > 0, "quantize: out");
  require_apart(out, x, "quantize: out", "x");
  kernels::Quantize* kernel = tier(isa).kernels.quantize;
  py::gil_scoped_release nogil;
  kernel(rows, x_data, dim(x, 0), dim(x, 1), how);
}

void rmsnorm_quantize(py::array out, const py::array& x, const py::array& weight, float eps, const std::string& rule,
                      double scale, int zero, double threshold, const std::string& isa) {
  const Quantization how = checked_rule(rule, scale, zero, threshold, "rmsnorm_quantize");
  const float* x_data = f32(x, 2, "rmsnorm_quantize: x");
  const Stored w = stored(weight, "rmsnorm_quantize: weight");
  require(x.shape(1) >= 1, "rmsnorm_quantize: x must have at least one column; got " + describe(x));
  require_shape(weight, {x.shape(1)}, "rmsnorm_quantize: weight", "x");
  void* rows = quantized_out(out, x.shape(0), x.shape(1), threshold > 0, "rmsnorm_quantize: out");
  require_apart(out, x, "rmsnorm_quantize: out", "x");
  require_apart(out, weight, "rmsnorm_quantize: out", "weight");
  kernels::RmsNormQuantize* kernel = tier(isa).kernels.rmsnorm_quantize[index_of(w.dtype)];
  py::gil_scoped_release nogil;
  kernel(rows, x_data, w.data, dim(x, 0), dim(x, 1), eps, how);
}

// The output buffer of an operation on x, checked to take what the rule gives.
std::size_t codes_buffer(const BoundProgram& self, const std::string& out, std::size_t x, const Quantization& how,
                         const std::string& what) {
  const Buffer& from = self.program.buffer(x);
  const std::size_t id = self.find_quantized(out, from.width, what + ": out");
  const Buffer& to = self.program.buffer(id);
  require(to.rows == from.rows, what + ": out and x must have the same rows; got " + out + ", " + from.name);
  require((to.holds == Holds::kCodesAndOutliers) == (how.threshold > 0),
          what + ": out must have room for outliers where there is a threshold, and only there; got " + out);
  return id;
}

void record_quantize(BoundProgram& self, const std::string& out, const std::string& x, const std::string& rule,
                     double scale, int zero, double threshold) {
  const Quantization how = checked_rule(rule, scale, zero, threshold, "quantize");
  const std::size_t x_id = self.find(x, 0, "quantize: x");
  const std::size_t out_id = codes_buffer(self, out, x_id, how, "quantize");
  const Buffer& from = self.program.buffer(x_id);
  self.add(QuantizeOp(self.program.kernels().quantize, out_id, x_id, from.width, how, from.rows), {});
}

void record_rmsnorm_quantize(BoundProgram& self, const std::string& out, const std::string& x, const py::array& weight,
                             float eps, const std::string& rule, double scale, int zero, double threshold) {
  const Quantization how = checked_rule(rule, scale, zero, threshold, "rmsnorm_quantize");
  const Stored w = stored(weight, "rmsnorm_quantize: weight");
  require(weight.ndim() == 1 && weight.shape(0) >= 1,
          "rmsnorm_quantize: weight must be (dim,); got " + describe(weight));
  const std::size_t x_id = self.find(x, dim(weight, 0), "rmsnorm_quantize: x");
  const std::size_t out_id = codes_buffer(self, out, x_id, how, "rmsnorm_quantize");
  kernels::RmsNormQuantize* kernel = self.program.kernels().rmsnorm_quantize[index_of(w.dtype)];
  self.add(RmsNormQuantizeOp({kernel, out_id, x_id, w.data, dim(weight, 0), eps, how, self.program.buffer(x_id).rows}),
           {weight});
}

}  // namespace

void bind_quantize(py::module_& m, ProgramClass& program) {
  m.def("quantized_rows", &quantized_rows, py::arg("rows"), py::arg("k"), py::kw_only(), py::arg("outliers") = false);
  m.def("quantize", &quantize, py::arg("out"), py::arg("x"), py::kw_only(), py::arg("rule"), py::arg("scale") = 1.0,
        py::arg("zero") = 0, py::arg("threshold") = 0.0, py::arg("isa") = "");
  m.def("rmsnorm_quantize", &rmsnorm_quantize, py::arg("out"), py::arg("x"), py::arg("weight"), py::arg("eps"),
        py::kw_only(), py::arg("rule"), py::arg("scale") = 1.0, py::arg("zero") = 0, py::arg("threshold") = 0.0,
        py::arg("isa") = "");
  program.def("quantize", &record_quantize, py::arg("out"), py::arg("x"), py::kw_only(), py::arg("rule"),
              py::arg("scale") = 1.0, py::arg("zero") = 0, py::arg("threshold") = 0.0);
  program.def("rmsnorm_quantize", &record_rmsnorm_quantize, py::arg("out"), py::arg("x"), py::arg("weight"),
              py::arg("eps"), py::kw_only(), py::arg("rule"), py::arg("scale") = 1.0, py::arg("zero") = 0,
              py::arg("threshold") = 0.0);
}

}  // namespace inferno::bindings

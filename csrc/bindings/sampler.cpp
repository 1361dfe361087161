// The sampler of one sequence.
#include "sampling/sampler.h"

#include <cmath>
#include <limits>
#include <mutex>

#include "bindings/bindings.h"
#include "float_environment.h"
#include "kernels/mass.h"
#include "sampling/logprobs.h"

namespace inferno::bindings {
namespace {

// A sampler may be shared by Python threads, and its calls run without the GIL.
struct BoundSampler {
  const KernelTable& kernels;
  Sampler sampler;
  std::mutex busy;
};

void require_range(double value, double low, double high, const char* name) {
  require(value >= low && value <= high,
          std::string("Sampler: ") + name + " must be in [" + text(low) + ", " + text(high) + "]; got " + text(value));
}

std::uint64_t checked_count(py::ssize_t value, const char* what) {
  require(value >= 0, std::string(what) + " must be at least 0; got " + std::to_string(value));
  return static_cast<std::uint64_t>(value);
}

std::uint64_t checked_seed(const py::int_& seed) {
  const std::uint64_t value = PyLong_AsUnsignedLongLong(seed.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    require(false, "Sampler: seed must be in [0, 2^64); got " + std::string(py::str(seed)));
  }
  return value;
}

PenaltyStrengths checked_penalties(double repetition, double presence, double frequency) {
  const auto r = static_cast<float>(repetition);
  require(r > 0 && r <= std::numeric_limits<float>::max(),
          "Sampler: repetition_penalty must be above 0, finite and within float32; got " + text(repetition));
  require_range(presence, -2, 2, "presence_penalty");
  require_range(frequency, -2, 2, "frequency_penalty");
  return {r, static_cast<float>(frequency), static_cast<float>(presence)};
}

std::unique_ptr<BoundSampler> make(py::ssize_t vocab_size, double temperature, py::ssize_t top_k, double top_p,
                                   double min_p, double repetition_penalty, double presence_penalty,
                                   double frequency_penalty, const py::int_& seed, py::ssize_t sample,
                                   const std::string& isa) {
  require(vocab_size >= 1 && vocab_size <= static_cast<py::ssize_t>(kernels::kMaxVocab),
          "Sampler: vocab_size must be in [1, " + std::to_string(kernels::kMaxVocab) + "]; got " +
              std::to_string(vocab_size));
  require(temperature >= 0 && std::isfinite(temperature),
          "Sampler: temperature must be finite and at least 0; got " + text(temperature));
  require(top_k >= -1, "Sampler: top_k must be at least 1, or 0 or -1 for off; got " + std::to_string(top_k));
  require(top_p > 0 && top_p <= 1, "Sampler: top_p must be in (0, 1]; got " + text(top_p));
  require_range(min_p, 0, 1, "min_p");
  SamplingRule rule;
  rule.temperature = temperature;
  rule.top_k = top_k > 0 ? static_cast<std::size_t>(top_k) : 0;
  rule.top_p = top_p;
  rule.min_p = min_p;
  rule.penalties = checked_penalties(repetition_penalty, presence_penalty, frequency_penalty);
  rule.seed = checked_seed(seed);
  rule.sample = checked_count(sample, "Sampler: sample");
  const KernelTable& kernels = tier(isa).kernels;
  return std::unique_ptr<BoundSampler>(
      new BoundSampler{kernels, Sampler(kernels, static_cast<std::size_t>(vocab_size), rule), {}});
}

void observe_prompt(BoundSampler& self, const std::vector<std::int64_t>& ids) {
  const auto vocab_size = static_cast<std::int64_t>(self.sampler.vocab_size());
  for (std::int64_t id : ids) {
    require(id >= 0 && id < vocab_size, "Sampler.observe_prompt: ids must be in [0, " + std::to_string(vocab_size) +
                                            "); got " + std::to_string(id));
  }
  py::gil_scoped_release nogil;
  const DefaultFloatEnvironment environment;
  const std::lock_guard<std::mutex> lock(self.busy);
  for (std::int64_t id : ids) self.sampler.observe_prompt(static_cast<std::int32_t>(id));
}

const float* checked_logits(const BoundSampler& self, const py::array& logits, const std::string& where) {
  const float* data = f32(logits, 1, where + ": logits");
  require_shape(logits, {static_cast<py::ssize_t>(self.sampler.vocab_size())}, where + ": logits", "vocab_size");
  return data;
}

py::tuple as_tuple(std::int32_t token, const Logprobs& found) {
  py::list top(found.top_count);
  for (std::size_t i = 0; i < found.top_count; ++i) top[i] = py::make_tuple(found.top[i].id, found.top[i].value);
  return py::make_tuple(token, found.token, top);
}

py::object sample(BoundSampler& self, const py::array& logits, py::ssize_t position, int logprobs) {
  const float* data = checked_logits(self, logits, "Sampler.sample");
  const std::uint64_t place = checked_count(position, "Sampler.sample: position");
  require(logprobs >= -1 && logprobs <= static_cast<int>(kMaxTopLogprobs),
          "Sampler.sample: logprobs must be in [0, " + std::to_string(kMaxTopLogprobs) + "], or -1 for none; got " +
              std::to_string(logprobs));
  std::int32_t token;
  Logprobs found{};
  {
    py::gil_scoped_release nogil;
    const DefaultFloatEnvironment environment;
    const std::lock_guard<std::mutex> lock(self.busy);
    token = self.sampler.sample(data, place);
    if (logprobs >= 0) {
      found =
          log_probabilities(self.kernels, data, self.sampler.vocab_size(), token, static_cast<std::size_t>(logprobs));
    }
  }
  if (logprobs < 0) return py::int_(token);
  return as_tuple(token, found);
}

// (ids, probabilities) of what sample would draw from, ascending by id.
py::tuple distribution(BoundSampler& self, const py::array& logits) {
  const float* data = checked_logits(self, logits, "Sampler.distribution");
  const std::lock_guard<std::mutex> lock(self.busy);  // never held by a thread that waits for the GIL
  const Survivors s = self.sampler.survivors(data);
  double whole = 0;
  for (std::size_t i = 0; i < s.count; ++i) whole += static_cast<double>(kernels::mass(s.weights[i]));
  py::array_t<std::int32_t> ids(static_cast<py::ssize_t>(s.count));
  py::array_t<double> probabilities(static_cast<py::ssize_t>(s.count));
  for (std::size_t i = 0; i < s.count; ++i) {
    ids.mutable_data()[i] = s.id(i);
    probabilities.mutable_data()[i] = static_cast<double>(kernels::mass(s.weights[i])) / whole;
  }
  return py::make_tuple(ids, probabilities);
}

}  // namespace

void bind_sampler(py::module_& m) {
  py::class_<BoundSampler>(m, "Sampler")
      .def(py::init(&make), py::arg("vocab_size"), py::kw_only(), py::arg("temperature") = 1.0, py::arg("top_k") = 0,
           py::arg("top_p") = 1.0, py::arg("min_p") = 0.0, py::arg("repetition_penalty") = 1.0,
           py::arg("presence_penalty") = 0.0, py::arg("frequency_penalty") = 0.0, py::arg("seed") = 0,
           py::arg("sample") = 0, py::arg("isa") = "")
      .def_property_readonly("vocab_size", [](const BoundSampler& self) { return self.sampler.vocab_size(); })
      .def("observe_prompt", &observe_prompt, py::arg("ids"))
      .def("sample", &sample, py::arg("logits"), py::arg("position"), py::arg("logprobs") = -1)
      .def("distribution", &distribution, py::arg("logits"));
}

}  // namespace inferno::bindings

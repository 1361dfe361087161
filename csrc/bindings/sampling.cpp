// The kernels of sampling, argmax and the generator, one call each.
#include "kernels/sampling.h"

#include <cmath>
#include <limits>

#include "bindings/bindings.h"
#include "kernels/mass.h"
#include "sampling/philox.h"
#include "sampling/ranking.h"
#include "sampling/workspace.h"

namespace inferno::bindings {
namespace {

const float* logits_of(const py::array& x, const std::string& what) {
  const float* data = f32(x, 1, what);
  require(dim(x, 0) >= 1 && dim(x, 0) <= kernels::kMaxVocab,
          what + " must hold 1 to " + std::to_string(kernels::kMaxVocab) + " logits; got " + describe(x));
  return data;
}

void require_groups(const py::array& a, const py::array& x, const std::string& what) {
  require_shape(a, {static_cast<py::ssize_t>(logit_groups(dim(x, 0)))}, what, "the groups of x");
}

std::int32_t argmax(const py::array& logits, const std::string& isa) {
  const float* x = logits_of(logits, "argmax: logits");
  const std::size_t n = dim(logits, 0);
  kernels::GroupMax* group_max = tier(isa).kernels.group_max;
  py::gil_scoped_release nogil;
  SamplingWorkspace& w = SamplingWorkspace::of_thread(n);
  const kernels::Peak peak = group_max(w.maxima.get(), x, n);
  return first_token(w, x, n, peak.value);
}

py::tuple group_max(py::array maxima, const py::array& x, const std::string& isa) {
  const float* x_data = logits_of(x, "group_max: x");
  float* maxima_data = f32_out(maxima, 1, "group_max: maxima");
  require_groups(maxima, x, "group_max: maxima");
  require_apart(maxima, x, "group_max: maxima", "x");
  kernels::GroupMax* kernel = tier(isa).kernels.group_max;
  kernels::Peak peak;
  {
    py::gil_scoped_release nogil;
    peak = kernel(maxima_data, x_data, dim(x, 0));
  }
  return py::make_tuple(peak.value, peak.nan);
}

std::size_t collect(py::array ids, const py::array& x, const py::array& maxima, float threshold,
                    const std::string& isa) {
  const float* x_data = logits_of(x, "collect: x");
  std::int32_t* id_data = i32_out(ids, 1, "collect: ids");
  const float* maxima_data = f32(maxima, 1, "collect: maxima");
  require_shape(ids, {x.shape(0)}, "collect: ids", "x");
  require_groups(maxima, x, "collect: maxima");
  require_apart(ids, x, "collect: ids", "x");
  require_apart(ids, maxima, "collect: ids", "maxima");
  require(!std::isnan(threshold), "collect: threshold must be a number; got nan");
  kernels::Collect* kernel = tier(isa).kernels.collect;
  py::gil_scoped_release nogil;
  return kernel(id_data, x_data, dim(x, 0), maxima_data, threshold);
}

void exp_weights(py::array weights, py::array sums, const py::array& x, float peak, float scale,
                 const std::string& isa) {
  const float* x_data = logits_of(x, "exp_weights: x");
  float* weight_data = f32_out(weights, 1, "exp_weights: weights");
  std::uint64_t* sum_data = u64_out(sums, 1, "exp_weights: sums");
  require_shape(weights, {x.shape(0)}, "exp_weights: weights", "x");
  require_groups(sums, x, "exp_weights: sums");
  require_apart_or_same(weights, x, "exp_weights: weights", "x");
  require_apart(sums, x, "exp_weights: sums", "x");
  require_apart(sums, weights, "exp_weights: sums", "weights");
  require(std::isfinite(peak), "exp_weights: peak must be finite; got " + text(peak));
  require(std::isnormal(scale) && scale > 0, "exp_weights: scale must be positive and normal; got " + text(scale));
  kernels::ExpWeights* kernel = tier(isa).kernels.exp_weights;
  py::gil_scoped_release nogil;
  kernel(weight_data, sum_data, x_data, dim(x, 0), peak, scale);
}

}  // namespace

void bind_sampling(py::module_& m) {
  m.def("argmax", &argmax, py::arg("logits"), py::kw_only(), py::arg("isa") = "");
  m.def("group_max", &group_max, py::arg("maxima"), py::arg("x"), py::kw_only(), py::arg("isa") = "");
  m.def("collect", &collect, py::arg("ids"), py::arg("x"), py::arg("maxima"), py::arg("threshold"), py::kw_only(),
        py::arg("isa") = "");
  m.def("exp_weights", &exp_weights, py::arg("weights"), py::arg("sums"), py::arg("x"), py::arg("peak"),
        py::arg("scale"), py::kw_only(), py::arg("isa") = "");
  m.def("philox", &philox_4x32_10, py::arg("counter"), py::arg("key"));
  m.attr("LOGIT_GROUP") = kernels::kLogitGroup;
  bind_sampler(m);
}

}  // namespace inferno::bindings

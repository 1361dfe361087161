#include <cmath>
#include <limits>

#include "kernels/mass.h"
#include "kernels/scalar/kernels.h"

namespace inferno::kernels::scalar {
namespace {

std::size_t group_end(std::size_t begin, std::size_t n) { return n - begin < kLogitGroup ? n : begin + kLogitGroup; }

}  // namespace

Peak group_max_f32(float* maxima, const float* x, std::size_t n) {
  Peak peak{-std::numeric_limits<float>::infinity(), false};
  for (std::size_t begin = 0; begin < n; begin += kLogitGroup) {
    float top = -std::numeric_limits<float>::infinity();
    for (std::size_t i = begin; i < group_end(begin, n); ++i) {
      if (x[i] > top) top = x[i];
      peak.nan |= x[i] != x[i];
    }
    maxima[begin / kLogitGroup] = top;
    if (top > peak.value) peak.value = top;
  }
  return peak;
}

std::size_t collect_f32(std::int32_t* ids, const float* x, std::size_t n, const float* maxima, float threshold) {
  std::size_t count = 0;
  for (std::size_t begin = 0; begin < n; begin += kLogitGroup) {
    if (maxima[begin / kLogitGroup] < threshold) continue;
    for (std::size_t i = begin; i < group_end(begin, n); ++i) {
      if (x[i] >= threshold) ids[count++] = static_cast<std::int32_t>(i);
    }
  }
  return count;
}

void exp_weights_f32(float* weights, std::uint64_t* sums, const float* x, std::size_t n, float peak, float scale) {
  for (std::size_t begin = 0; begin < n; begin += kLogitGroup) {
    std::uint64_t sum = 0;
    for (std::size_t i = begin; i < group_end(begin, n); ++i) {
      const float exponent = (x[i] - peak) * scale;
      weights[i] = exponent < -87.33654f ? 0 : std::exp(exponent);
      sum += mass(weights[i]);
    }
    sums[begin / kLogitGroup] = sum;
  }
}

}  // namespace inferno::kernels::scalar

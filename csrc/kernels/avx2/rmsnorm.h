// The arithmetic of rmsnorm, for the operations that begin with it. Internal linkage, as lanes.h.
#pragma once

#include <cmath>

#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

// Four vectors of partial sums hide the latency of the multiply-add.
inline float sum_of_squares(const float* x, std::size_t dim) {
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
  std::size_t i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
    for (std::size_t s = 0; s < 4; ++s) {
      const __m256 v = _mm256_loadu_ps(x + i + s * kLanes);
      sums[s] = _mm256_fmadd_ps(v, v, sums[s]);
    }
  }
  for (; i < dim; i += kLanes) {
    const __m256 v = load_part(F32{}, x + i, dim - i < kLanes ? dim - i : kLanes);
    sums[0] = _mm256_fmadd_ps(v, v, sums[0]);
  }
  return sum(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
}

inline float rms_scale(const float* x, std::size_t dim, float eps) {
  return 1 / std::sqrt(sum_of_squares(x, dim) / static_cast<float>(dim) + eps);
}

inline __m256 normed(__m256 x, __m256 scale, __m256 weight) { return _mm256_mul_ps(_mm256_mul_ps(x, scale), weight); }

}  // namespace
}  // namespace inferno::kernels::avx2

#include <cmath>

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

// Four vectors of partial sums hide the latency of the multiply-add.
float sum_of_squares(const float* x, std::size_t dim) {
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

template <class W>
void rmsnorm(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim, float eps) {
  const auto* w = elements<W>(weight);
  for (std::size_t r = 0; r < rows; ++r, x += dim, out += dim) {
    const float scale = 1 / std::sqrt(sum_of_squares(x, dim) / static_cast<float>(dim) + eps);
    const __m256 scales = _mm256_set1_ps(scale);
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
      _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), scales), load(W{}, w + i)));
    }
    if (i == dim) continue;
    const __m256 v = _mm256_mul_ps(load_part(F32{}, x + i, dim - i), scales);
    store_part(out + i, _mm256_mul_ps(v, load_part(W{}, w + i, dim - i)), dim - i);
  }
}

}  // namespace

void rmsnorm_f32_f32_f32(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim, float eps) {
  rmsnorm<F32>(out, x, weight, rows, dim, eps);
}
void rmsnorm_f32_f32_f16(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim, float eps) {
  rmsnorm<F16>(out, x, weight, rows, dim, eps);
}
void rmsnorm_f32_f32_bf16(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim,
                          float eps) {
  rmsnorm<BF16>(out, x, weight, rows, dim, eps);
}

}  // namespace inferno::kernels::avx2

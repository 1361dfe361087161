#include "kernels/avx2/rmsnorm.h"

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

template <class W>
void rmsnorm(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim, float eps) {
  const auto* w = elements<W>(weight);
  for (std::size_t r = 0; r < rows; ++r, x += dim, out += dim) {
    const __m256 scale = _mm256_set1_ps(rms_scale(x, dim, eps));
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
      _mm256_storeu_ps(out + i, normed(_mm256_loadu_ps(x + i), scale, load(W{}, w + i)));
    }
    if (i == dim) continue;
    const __m256 v = normed(load_part(F32{}, x + i, dim - i), scale, load_part(W{}, w + i, dim - i));
    store_part(out + i, v, dim - i);
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

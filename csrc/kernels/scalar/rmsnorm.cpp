#include <cmath>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

template <class W>
void rmsnorm(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim, float eps) {
  for (std::size_t r = 0; r < rows; ++r, x += dim, out += dim) {
    float sum = 0;
    for (std::size_t i = 0; i < dim; ++i) sum += x[i] * x[i];
    const float scale = 1 / std::sqrt(sum / static_cast<float>(dim) + eps);
    for (std::size_t i = 0; i < dim; ++i) out[i] = x[i] * scale * get<W>(weight, i);
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

}  // namespace inferno::kernels::scalar

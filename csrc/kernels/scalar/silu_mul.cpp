#include <cmath>

#include "kernels/scalar/kernels.h"

namespace inferno::kernels::scalar {

void silu_mul_f32(float* out, const float* gate, const float* up, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) out[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

}  // namespace inferno::kernels::scalar

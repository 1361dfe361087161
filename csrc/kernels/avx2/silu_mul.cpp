#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {

void silu_mul_f32(float* out, const float* gate, const float* up, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _mm256_storeu_ps(out + i, silu_mul(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
  }
  if (i < n) store_part(out + i, silu_mul(load_part(F32{}, gate + i, n - i), load_part(F32{}, up + i, n - i)), n - i);
}

}  // namespace inferno::kernels::avx2

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/quantize_rule.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

// Finite and infinite numbers and NaN in this order, by the bits of |x|.
std::uint32_t magnitude(float x) { return float_to_bits(x) & 0x7fffffffu; }

// x(i): the row's number i.
template <class Row>
void quantize_row(void* out, std::size_t k, const Quantization& how, Row x) {
  auto* row = static_cast<QuantizedRow*>(out);
  const bool outliers = how.threshold > 0;
  std::memset(out, 0, quantized_row_bytes(k, outliers));
  Outlier* list = row->outlier_list(k);
  std::uint32_t largest = 0;
  float low = 0, high = 0;
  for (std::size_t i = 0; i < k; ++i) {
    const float v = x(i);
    if (outliers && std::fabs(v) >= how.threshold) {
      list[row->outliers++] = {static_cast<std::int32_t>(i), v};
      continue;
    }
    largest = std::max(largest, magnitude(v));
    low = std::min(low, v);
    high = std::max(high, v);
  }
  const RowRule rule = row_rule(how, bits_to_float(largest), low, high);
  row->scale = rule.scale;
  if (rule.empty) return;
  for (std::size_t i = 0; i < k; ++i) {
    const float v = x(i);
    if (outliers && std::fabs(v) >= how.threshold) continue;
    const float scaled = rule.divide ? v / rule.factor + rule.zero : std::nearbyint(v * rule.factor) + rule.zero;
    const float q = std::nearbyint(std::min(std::max(scaled, kLowestCode), kHighestCode));
    row->codes()[i] = static_cast<std::int16_t>(q - rule.zero);
  }
}

template <class W>
void rmsnorm_quantize(void* out, const float* x, const void* weight, std::size_t rows, std::size_t k, float eps,
                      const Quantization& how) {
  for (std::size_t r = 0; r < rows; ++r, x += k) {
    float sum = 0;
    for (std::size_t i = 0; i < k; ++i) sum += x[i] * x[i];
    const float scale = 1 / std::sqrt(sum / static_cast<float>(k) + eps);
    quantize_row(out, k, how, [&](std::size_t i) { return x[i] * scale * get<W>(weight, i); });
    out = static_cast<char*>(out) + quantized_row_bytes(k, how.threshold > 0);
  }
}

}  // namespace

void quantize_i8_f32(void* out, const float* x, std::size_t rows, std::size_t k, const Quantization& how) {
  for (std::size_t r = 0; r < rows; ++r, x += k) {
    quantize_row(out, k, how, [&](std::size_t i) { return x[i]; });
    out = static_cast<char*>(out) + quantized_row_bytes(k, how.threshold > 0);
  }
}

void rmsnorm_i8_f32_f32(void* out, const float* x, const void* weight, std::size_t rows, std::size_t k, float eps,
                        const Quantization& how) {
  rmsnorm_quantize<F32>(out, x, weight, rows, k, eps, how);
}
void rmsnorm_i8_f32_f16(void* out, const float* x, const void* weight, std::size_t rows, std::size_t k, float eps,
                        const Quantization& how) {
  rmsnorm_quantize<F16>(out, x, weight, rows, k, eps, how);
}
void rmsnorm_i8_f32_bf16(void* out, const float* x, const void* weight, std::size_t rows, std::size_t k, float eps,
                         const Quantization& how) {
  rmsnorm_quantize<BF16>(out, x, weight, rows, k, eps, how);
}

}  // namespace inferno::kernels::scalar

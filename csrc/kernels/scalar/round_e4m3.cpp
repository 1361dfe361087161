#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

constexpr float kMax = 448;

// The nearest e4m3fn to |v| <= 448. Beside 2^20 times its power of two, a float32 has v's quantum for its last place:
// an eighth of the power, or 2^-9 below 2^-6.
float e4m3(float v) {
  const std::uint32_t bits = float_to_bits(v), smallest = 121u << 23;
  const std::uint32_t power = bits & 0x7f800000u;
  const float shift = bits_to_float((power > smallest ? power : smallest) + (20u << 23));
  const float magnitude = (bits_to_float(bits & 0x7fffffffu) + shift) - shift;
  return bits_to_float(float_to_bits(magnitude) | (bits & 0x80000000u));
}

float group_scale(const float* x, std::size_t count) {
  std::uint32_t largest = 0;  // magnitudes are ordered as their bits are, infinity and NaN last
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t magnitude = float_to_bits(x[i]) & 0x7fffffffu;
    if (magnitude > largest) largest = magnitude;
  }
  if (largest >= 0x7f800000u) largest = 0x7fc00000u;
  return bits_to_float(largest) / kMax;
}

void round_group(float* out, const float* x, std::size_t count, float scale, bool reciprocal) {
  const float inverse = 1 / scale;
  const bool vanishes = inverse > 3.4028234663852886e38f;
  for (std::size_t i = 0; i < count; ++i) {
    const float v = reciprocal ? x[i] * inverse : x[i] / scale;
    out[i] = vanishes ? 0 : e4m3(v < -kMax ? -kMax : v > kMax ? kMax : v) * scale;
  }
}

}  // namespace

void round_e4m3_f32(float* out, const float* x, std::size_t rows, std::size_t dim, const E4M3Rounding& r) {
  for (; rows > 0; --rows, out += dim, x += dim) {
    for (std::size_t i = 0; i < dim; i += r.group) {
      const std::size_t count = dim - i < r.group ? dim - i : r.group;
      round_group(out + i, x + i, count, r.scale != 0 ? r.scale : group_scale(x + i, count), r.reciprocal);
    }
  }
}

}  // namespace inferno::kernels::scalar

#include "kernels/round_e4m3.h"

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

constexpr float kMax = 448;

// The nearest e4m3fn to |v| <= 448. Beside 2^20 times its power of two, a float32 has v's quantum for its last place:
// an eighth of the power, or 2^-9 below 2^-6.
__m256 e4m3(__m256 v) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256i power = _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7f800000));
  const __m256i least = _mm256_max_epi32(power, _mm256_set1_epi32(121 << 23));
  const __m256 shift = _mm256_castsi256_ps(_mm256_add_epi32(least, _mm256_set1_epi32(20 << 23)));
  const __m256 magnitude = _mm256_sub_ps(_mm256_add_ps(_mm256_andnot_ps(sign, v), shift), shift);
  return _mm256_or_ps(magnitude, _mm256_and_ps(sign, v));
}

float group_scale(const float* x, std::size_t count) {
  // Magnitudes are ordered as their bits are, infinity and NaN last.
  __m256i largest = _mm256_setzero_si256();
  for (std::size_t i = 0; i < count; i += kLanes) {
    const __m256i bits = _mm256_castps_si256(load_count(F32{}, x + i, count - i < kLanes ? count - i : kLanes));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
  }
  const __m256i special = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(0x7f7fffff));
  if (_mm256_movemask_epi8(special) != 0) return _mm256_cvtss_f32(_mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)));
  return max(_mm256_castsi256_ps(largest)) / kMax;
}

void round_group(float* out, const float* x, std::size_t count, float scale, bool reciprocal) {
  const float inverse = 1 / scale;
  const __m256 s = _mm256_set1_ps(scale), high = _mm256_set1_ps(kMax), low = _mm256_set1_ps(-kMax);
  const __m256 live = _mm256_castsi256_ps(_mm256_set1_epi32(inverse > 3.4028234663852886e38f ? 0 : -1));
  for (std::size_t i = 0; i < count; i += kLanes) {
    const std::size_t some = count - i < kLanes ? count - i : kLanes;
    const __m256 given = load_count(F32{}, x + i, some);
    const __m256 v = reciprocal ? _mm256_mul_ps(given, _mm256_set1_ps(inverse)) : _mm256_div_ps(given, s);
    const __m256 clamped = _mm256_min_ps(high, _mm256_max_ps(low, v));  // v second: NaN passes through
    store_part(out + i, _mm256_and_ps(live, _mm256_mul_ps(e4m3(clamped), s)), some);
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

}  // namespace inferno::kernels::avx2

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

struct Pair {
  __m256 a, b;
};

Pair rotate(Pair x, __m256 cos, __m256 sin) {
  return {_mm256_fmsub_ps(x.a, cos, _mm256_mul_ps(x.b, sin)), _mm256_fmadd_ps(x.b, cos, _mm256_mul_ps(x.a, sin))};
}

// Where the eight pairs (or the first `count`) from i on lie in a head.
struct HalfSplit {
  static Pair get(const float* x, std::size_t i, std::size_t half, std::size_t count) {
    return {load_part(F32{}, x + i, count), load_part(F32{}, x + half + i, count)};
  }
};

struct Interleaved {
  static Pair get(const float* x, std::size_t i, std::size_t, std::size_t count) {
    const float* p = x + 2 * i;
    const std::size_t floats = 2 * count;
    const __m256 low = load_part(F32{}, p, floats < kLanes ? floats : kLanes);
    const __m256 high = floats > kLanes ? load_part(F32{}, p + kLanes, floats - kLanes) : _mm256_setzero_ps();
    // a0 b0 a1 b1 | a2 b2 a3 b3 and the next eight -> a0..a7 and b0..b7
    const __m256 first = _mm256_permute2f128_ps(low, high, 0x20), second = _mm256_permute2f128_ps(low, high, 0x31);
    const __m256 a = _mm256_shuffle_ps(first, second, 0x88), b = _mm256_shuffle_ps(first, second, 0xdd);
    return {a, b};
  }
};

template <class Order>
void rope(float* out, const float* x, const float* angles, std::size_t tokens, std::size_t heads, std::size_t half) {
  for (std::size_t t = 0; t < tokens; ++t, angles += 2 * half) {
    for (std::size_t h = 0; h < heads; ++h, x += 2 * half, out += 2 * half) {
      for (std::size_t i = 0; i < half; i += kLanes) {
        const std::size_t count = half - i < kLanes ? half - i : kLanes;
        const __m256 cos = load_part(F32{}, angles + i, count), sin = load_part(F32{}, angles + half + i, count);
        const Pair turned = rotate(Order::get(x, i, half, count), cos, sin);
        store_part(out + i, turned.a, count);
        store_part(out + half + i, turned.b, count);
      }
    }
  }
}

}  // namespace

void rope_half_split_f32(float* out, const float* x, const float* angles, std::size_t tokens, std::size_t heads,
                         std::size_t half) {
  rope<HalfSplit>(out, x, angles, tokens, heads, half);
}

void rope_interleaved_f32(float* out, const float* x, const float* angles, std::size_t tokens, std::size_t heads,
                          std::size_t half) {
  rope<Interleaved>(out, x, angles, tokens, heads, half);
}

}  // namespace inferno::kernels::avx2

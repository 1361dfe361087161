// Eight float32 lanes: loads that widen stored types, stores that round, sums, exp. Internal linkage throughout, so
// that no copy built with this tier's flags can be linked into code that every CPU runs.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inferno::kernels::avx2 {
namespace {

constexpr std::size_t kLanes = 8;

struct F32 {
  using Storage = float;
};
struct F16 {
  using Storage = std::uint16_t;
};
struct BF16 {
  using Storage = std::uint16_t;
};

template <class T>
const typename T::Storage* elements(const void* array) {
  return static_cast<const typename T::Storage*>(array);
}

inline __m256 widen(F16, __m128i v) { return _mm256_cvtph_ps(v); }
inline __m256 widen(BF16, __m128i v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16)); }

// Eight elements at any alignment.
inline __m256 load(F32, const float* p) { return _mm256_loadu_ps(p); }
template <class T>
inline __m256 load(T, const std::uint16_t* p) {
  return widen(T{}, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline __m256i mask_of(std::size_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
}

// The first `count` < 8 elements; the other lanes are zero and their memory is not touched.
inline __m256 load_part(F32, const float* p, std::size_t count) { return _mm256_maskload_ps(p, mask_of(count)); }
template <class T>
inline __m256 load_part(T, const std::uint16_t* p, std::size_t count) {
  alignas(16) std::uint16_t lanes[kLanes] = {};
  std::memcpy(lanes, p, count * sizeof *p);
  return widen(T{}, _mm_load_si128(reinterpret_cast<const __m128i*>(lanes)));
}

// The first `count` <= 8 elements, likewise.
template <class T>
inline __m256 load_count(T type, const typename T::Storage* p, std::size_t count) {
  return count == kLanes ? load(type, p) : load_part(type, p, count);
}

inline void store_part(float* p, __m256 v, std::size_t count) { _mm256_maskstore_ps(p, mask_of(count), v); }

// Rounded to nearest, ties to even; NaN stays NaN.
inline __m128i narrow(F16, __m256 v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline __m128i narrow(BF16, __m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

// ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)): one fixed order.
inline float sum(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// sum() of eight vectors at once, in the same order: lane j of the result is sum(v[j]).
inline __m256 sum8(const __m256 (&v)[8]) {
  __m256 four[4];  // v[j] folded to four lanes in the low half, v[j + 4] in the high half
  for (int j = 0; j < 4; ++j) {
    four[j] = _mm256_add_ps(_mm256_permute2f128_ps(v[j], v[j + 4], 0x20), _mm256_permute2f128_ps(v[j], v[j + 4], 0x31));
  }
  const __m256 low01 = _mm256_unpacklo_ps(four[0], four[1]), high01 = _mm256_unpackhi_ps(four[0], four[1]);
  const __m256 low23 = _mm256_unpacklo_ps(four[2], four[3]), high23 = _mm256_unpackhi_ps(four[2], four[3]);
  const __m256 lane0 = _mm256_shuffle_ps(low01, low23, 0x44), lane1 = _mm256_shuffle_ps(low01, low23, 0xee);
  const __m256 lane2 = _mm256_shuffle_ps(high01, high23, 0x44), lane3 = _mm256_shuffle_ps(high01, high23, 0xee);
  return _mm256_add_ps(_mm256_add_ps(lane0, lane2), _mm256_add_ps(lane1, lane3));
}

inline float max(__m256 v) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// e^x within 2 units in the last place; 0 below -87.33 (where the result would be subnormal), infinite above 88.37
// (where n is 128, whose power of two is not a float32: 0.35 too early, so that one clamp serves).
//
// x = n ln 2 + r with |r| <= ln 2 / 2; Taylor's series to r^7 leaves r^8 / 40320 < 5.3e-9, a tenth of a float32 ulp.
inline __m256 exp(__m256 x) {
  const __m256 lowest = _mm256_set1_ps(-87.33654f), highest = _mm256_set1_ps(89.0f);
  const __m256 live = _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ);
  x = _mm256_min_ps(highest, _mm256_max_ps(lowest, x));  // x second: NaN passes through
  const __m256 n =
      _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln 2 in two parts; the first has 9 significant bits, so that n times it is exact.
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.0f / 5040);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), _mm256_add_ps(r, _mm256_set1_ps(1.0f)));
  const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_and_ps(live, _mm256_mul_ps(p, _mm256_castsi256_ps(exponent)));
}

inline __m256 silu_mul(__m256 gate, __m256 up) {
  const __m256 one = _mm256_set1_ps(1.0f);
  const __m256 negative = _mm256_xor_ps(gate, _mm256_set1_ps(-0.0f));
  return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(one, exp(negative))), up);
}

}  // namespace
}  // namespace inferno::kernels::avx2

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"
#include "kernels/mass.h"

namespace inferno::kernels::avx2 {
namespace {

std::size_t group_size(std::size_t begin, std::size_t n) { return n - begin < kLogitGroup ? n - begin : kLogitGroup; }

__m256 lowest() { return _mm256_set1_ps(-__builtin_inff()); }

// The first `count` elements, at most eight; the other lanes are zero.
__m256 load_up_to(const float* p, std::size_t count) {
  return count >= kLanes ? _mm256_loadu_ps(p) : load_part(F32{}, p, count);
}

void store_up_to(float* p, __m256 v, std::size_t count) {
  count >= kLanes ? _mm256_storeu_ps(p, v) : store_part(p, v, count);
}

// Zero in lanes from `count` on.
__m256 first_lanes(__m256 v, std::size_t count) { return _mm256_and_ps(v, _mm256_castsi256_ps(mask_of(count))); }

// Maximum and unordered lanes of a whole group. In max(v, top) a NaN in v gives top.
__m256 whole_group(const float* x, __m256& nan) {
  __m256 even = lowest(), odd = lowest();
  for (std::size_t i = 0; i < kLogitGroup; i += 2 * kLanes) {
    const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + kLanes);
    even = _mm256_max_ps(a, even);
    odd = _mm256_max_ps(b, odd);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
  }
  return _mm256_max_ps(even, odd);
}

// The same of a group of `count` logits; absent lanes are -infinity.
__m256 part_group(const float* x, std::size_t count, __m256& nan) {
  __m256 top = lowest();
  for (std::size_t i = 0; i < count; i += kLanes) {
    const __m256 live = _mm256_castsi256_ps(mask_of(count - i));
    const __m256 v = _mm256_blendv_ps(lowest(), load_up_to(x + i, count - i), live);
    top = _mm256_max_ps(v, top);
    nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  }
  return top;
}

// Four masses in 64-bit lanes.
__m256i masses(__m128 weights) {
  const __m256d shifted = _mm256_add_pd(_mm256_cvtps_pd(weights), _mm256_set1_pd(kMassShift));
  return _mm256_sub_epi64(_mm256_castpd_si256(shifted), _mm256_set1_epi64x(static_cast<long long>(kMassShiftBits)));
}

__m256i add_masses(__m256i sum, __m256 weights) {
  const __m256i low = masses(_mm256_castps256_ps128(weights)), high = masses(_mm256_extractf128_ps(weights, 1));
  return _mm256_add_epi64(sum, _mm256_add_epi64(low, high));
}

std::uint64_t total(__m256i v) {
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two))));
}

}  // namespace

Peak group_max_f32(float* maxima, const float* x, std::size_t n) {
  __m256 peak = lowest(), nan = _mm256_setzero_ps();
  for (std::size_t begin = 0; begin < n; begin += kLogitGroup) {
    const std::size_t size = group_size(begin, n);
    const __m256 top = size == kLogitGroup ? whole_group(x + begin, nan) : part_group(x + begin, size, nan);
    peak = _mm256_max_ps(peak, top);
    maxima[begin / kLogitGroup] = max(top);
  }
  return {max(peak), _mm256_movemask_ps(nan) != 0};
}

std::size_t collect_f32(std::int32_t* ids, const float* x, std::size_t n, const float* maxima, float threshold) {
  const __m256 bar = _mm256_set1_ps(threshold);
  std::size_t count = 0;
  for (std::size_t begin = 0; begin < n; begin += kLogitGroup) {
    if (maxima[begin / kLogitGroup] < threshold) continue;
    const std::size_t end = begin + group_size(begin, n);
    for (std::size_t i = begin; i < end; i += kLanes) {
      const __m256 over = _mm256_cmp_ps(load_up_to(x + i, end - i), bar, _CMP_GE_OQ);
      int found = _mm256_movemask_ps(first_lanes(over, end - i));
      for (; found != 0; found &= found - 1) ids[count++] = static_cast<std::int32_t>(i) + __builtin_ctz(found);
    }
  }
  return count;
}

void exp_weights_f32(float* weights, std::uint64_t* sums, const float* x, std::size_t n, float peak, float scale) {
  const __m256 top = _mm256_set1_ps(peak), factor = _mm256_set1_ps(scale);
  for (std::size_t begin = 0; begin < n; begin += kLogitGroup) {
    const std::size_t end = begin + group_size(begin, n);
    __m256i sum = _mm256_setzero_si256();
    for (std::size_t i = begin; i < end; i += kLanes) {
      const __m256 exponent = _mm256_mul_ps(_mm256_sub_ps(load_up_to(x + i, end - i), top), factor);
      const __m256 w = first_lanes(exp(exponent), end - i);
      store_up_to(weights + i, w, end - i);
      sum = add_masses(sum, w);
    }
    sums[begin / kLogitGroup] = total(sum);
  }
}

}  // namespace inferno::kernels::avx2

// Three passes over a row: its statistics, its codes, and for the fused norm its squares before them. A row stays in
// cache between them, so that nothing is written but the codes.
#include <cmath>
#include <cstring>

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"
#include "kernels/avx2/rmsnorm.h"
#include "kernels/scalar/quantize_rule.h"

namespace inferno::kernels::avx2 {
namespace {

// A row as it lies.
struct Plain {
  const float* x;
  __m256 at(std::size_t p) const { return _mm256_loadu_ps(x + p); }
  __m256 part(std::size_t p, std::size_t count) const { return load_part(F32{}, x + p, count); }
};

// A row as rmsnorm makes it.
template <class W>
struct Normed {
  const float* x;
  const typename W::Storage* weight;
  __m256 scale;
  __m256 at(std::size_t p) const { return normed(_mm256_loadu_ps(x + p), scale, load(W{}, weight + p)); }
  __m256 part(std::size_t p, std::size_t count) const {
    return normed(load_part(F32{}, x + p, count), scale, load_part(W{}, weight + p, count));
  }
};

struct Statistics {
  float absmax, low, high;
};

inline __m256 magnitude(__m256 v) { return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }

inline float largest_bits(__m256i v) {
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

// Lanes of outliers, all ones.
inline __m256 outlier_lanes(__m256 v, float threshold) {
  return _mm256_cmp_ps(magnitude(v), _mm256_set1_ps(threshold), _CMP_GE_OQ);
}

// Calls f(vector, first column) for the whole row; lanes past its end are 0.
template <class Row, class F>
[[gnu::always_inline]] inline void each(const Row& row, std::size_t k, F f) {
  std::size_t p = 0;
  for (; p + kLanes <= k; p += kLanes) f(row.at(p), p);
  if (p < k) f(row.part(p, k - p), p);
}

// The bits of |x| are compared as integers: so ordered, a NaN is the largest of all.
template <bool kOutliers, class Row>
Statistics statistics(const Row& row, std::size_t k, const Quantization& how, QuantizedRow& out, Outlier* list) {
  __m256i largest = _mm256_setzero_si256();
  __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
  std::int32_t outliers = 0;
  each(row, k, [&](__m256 v, std::size_t p) {
    if constexpr (kOutliers) {
      const __m256 out_of_line = outlier_lanes(v, how.threshold);
      unsigned bits = static_cast<unsigned>(_mm256_movemask_ps(out_of_line));
      if (bits != 0) {
        alignas(32) float values[kLanes];
        _mm256_store_ps(values, v);
        for (std::size_t l = 0; l < kLanes; ++l) {
          if ((bits >> l & 1u) != 0) list[outliers++] = {static_cast<std::int32_t>(p + l), values[l]};
        }
        v = _mm256_andnot_ps(out_of_line, v);
      }
    }
    largest = _mm256_max_epi32(largest, _mm256_castps_si256(magnitude(v)));
    low = _mm256_min_ps(low, v);
    high = _mm256_max_ps(high, v);
  });
  out.outliers = outliers;
  const float lowest = -max(_mm256_sub_ps(_mm256_setzero_ps(), low));
  return {largest_bits(largest), lowest, max(high)};
}

template <bool kOutliers, bool kDivide, class Row>
void write_codes(const Row& row, std::size_t k, const Quantization& how, const RowRule& rule, std::int16_t* codes) {
  const __m256 factor = _mm256_set1_ps(rule.factor), zero = _mm256_set1_ps(rule.zero);
  const __m256 lowest = _mm256_set1_ps(kLowestCode), highest = _mm256_set1_ps(kHighestCode);
  const __m256i shift = _mm256_cvtps_epi32(zero);
  each(row, k, [&](__m256 v, std::size_t p) {
    __m256 q;
    if constexpr (kDivide) {
      q = _mm256_add_ps(_mm256_div_ps(v, factor), zero);
    } else {
      q = _mm256_round_ps(_mm256_mul_ps(v, factor), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
      q = _mm256_add_ps(q, zero);
    }
    q = _mm256_min_ps(_mm256_max_ps(q, lowest), highest);
    __m256i code = _mm256_sub_epi32(_mm256_cvtps_epi32(q), shift);
    if constexpr (kOutliers) {
      code = _mm256_andnot_si256(_mm256_castps_si256(outlier_lanes(v, how.threshold)), code);
    }
    // Codes are padded to whole vectors: the lanes past the end are stored too, and set to zero after.
    _mm_store_si128(reinterpret_cast<__m128i*>(codes + p),
                    _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1)));
  });
}

template <bool kOutliers, class Row>
void quantize_row(void* out, std::size_t k, const Quantization& how, const Row& row) {
  auto& to = *static_cast<QuantizedRow*>(out);
  std::memset(out, 0, sizeof to);
  std::int16_t* codes = to.codes();
  const Statistics found = statistics<kOutliers>(row, k, how, to, to.outlier_list(k));
  const RowRule rule = row_rule(how, found.absmax, found.low, found.high);
  to.scale = rule.scale;
  if (rule.empty) {
    std::memset(codes, 0, quantized_codes_bytes(k));
    return;
  }
  if (rule.divide) {
    write_codes<kOutliers, true>(row, k, how, rule, codes);
  } else {
    write_codes<kOutliers, false>(row, k, how, rule, codes);
  }
  std::memset(codes + k, 0, quantized_codes_bytes(k) - k * sizeof *codes);
}

template <class Row>
void quantize_row(void* out, std::size_t k, const Quantization& how, const Row& row) {
  if (how.threshold > 0) {
    quantize_row<true>(out, k, how, row);
  } else {
    quantize_row<false>(out, k, how, row);
  }
}

template <class W>
void rmsnorm_quantize(void* out, const float* x, const void* weight, std::size_t rows, std::size_t k, float eps,
                      const Quantization& how) {
  for (std::size_t r = 0; r < rows; ++r, x += k) {
    quantize_row(out, k, how, Normed<W>{x, elements<W>(weight), _mm256_set1_ps(rms_scale(x, k, eps))});
    out = static_cast<char*>(out) + quantized_row_bytes(k, how.threshold > 0);
  }
}

}  // namespace

void quantize_i8_f32(void* out, const float* x, std::size_t rows, std::size_t k, const Quantization& how) {
  for (std::size_t r = 0; r < rows; ++r, x += k) {
    quantize_row(out, k, how, Plain{x});
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

}  // namespace inferno::kernels::avx2

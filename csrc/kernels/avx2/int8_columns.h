// Codes of weights in 16 bits, and what a sum of products becomes. Internal linkage, as lanes.h.
#pragma once

#include <algorithm>

#include "kernels/avx2/epilogue.h"
#include "kernels/avx2/lanes.h"
#include "kernels/scalar/int8_codes.h"

namespace inferno::kernels::avx2 {
namespace {

// Codes in a vector of 16 bits each.
constexpr std::size_t kCodes = 16;

struct I8 {
  using Storage = std::int8_t;
  static __m256i widen(__m128i v) { return _mm256_cvtepi8_epi16(v); }
  // The low or high eight of each half.
  static __m256i widen_low(__m256i v) { return _mm256_srai_epi16(_mm256_unpacklo_epi8(v, v), 8); }
  static __m256i widen_high(__m256i v) { return _mm256_srai_epi16(_mm256_unpackhi_epi8(v, v), 8); }
};
struct U8 {
  using Storage = std::uint8_t;
  static __m256i widen(__m128i v) { return _mm256_cvtepu8_epi16(v); }
  static __m256i widen_low(__m256i v) { return _mm256_unpacklo_epi8(v, _mm256_setzero_si256()); }
  static __m256i widen_high(__m256i v) { return _mm256_unpackhi_epi8(v, _mm256_setzero_si256()); }
};

inline __m128i load_codes(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

template <class W>
const typename W::Storage* codes_of(const CodedMatrix& w, std::size_t j) {
  return static_cast<const typename W::Storage*>(w.codes) + j * w.row_bytes;
}

// Columns [j, j + count) of out, count <= N, and the blocks of rows of w that they belong to.
template <std::size_t N>
struct Columns {
  std::size_t j, count;
  std::size_t row_block[N];

  Columns(const CodedMatrix& w, std::size_t first, std::size_t size) : j(first), count(size) {
    for (std::size_t l = 0; l < count; ++l) row_block[l] = w.block_rows == 1 ? j + l : (j + l) / w.block_rows;
  }
};

// Scales [i, i + count), count <= 8, that lie side by side, into out, which has room for eight; false for a type whose
// scales are made one by one.
inline bool load_scales(const Scales& s, std::size_t i, std::size_t count, float* out) {
  const auto get = [&](auto type) {
    const auto* at = elements<decltype(type)>(s.data) + i;
    const __m256 v = count == kLanes ? load(type, at) : load_part(type, at, count);
    _mm256_store_ps(out, _mm256_mul_ps(v, _mm256_set1_ps(s.factor)));
    return true;
  };
  switch (s.type) {
    case ScaleType::kF32:
      return get(F32{});
    case ScaleType::kF16:
      return get(F16{});
    case ScaleType::kBF16:
      return get(BF16{});
    case ScaleType::kNested:
      break;
  }
  return false;
}

// Scales and zeros of columns of out for one block of columns of w.
template <std::size_t N>
struct Block {
  alignas(32) float scale[N];
  alignas(32) std::int32_t zero[N];
  bool zeros;  // whether one of `zero` is not 0

  Block(const CodedMatrix& w, const Columns<N>& columns, std::size_t c) : scale{}, zero{}, zeros(false) {
    const bool in_row = w.block_rows == 1 && w.scales.row_stride == 1;
    for (std::size_t l = 0; l < columns.count; l += kLanes) {
      const std::size_t some = std::min(kLanes, columns.count - l), end = l + some;
      if (in_row && load_scales(w.scales, columns.j + l + c * w.scales.column_stride, some, scale + l)) continue;
      for (std::size_t each = l; each < end; ++each) scale[each] = scale_at(w, columns.row_block[each], c);
    }
    if (w.zeros.type == ZeroType::kConstant) {
      for (std::size_t l = 0; l < columns.count; ++l) zero[l] = w.zeros.constant;
      zeros = w.zeros.constant != 0;
      return;
    }
    for (std::size_t l = 0; l < columns.count; ++l) {
      zero[l] = zero_at(w, columns.row_block[l], c);
      zeros |= zero[l] != 0;
    }
  }
};

// Stores the epilogue of row i's columns [j, j + count), count <= 8, whose sums of blocks are `sums`.
inline void finish(const MatMulInt8Args& a, std::size_t i, std::size_t j, std::size_t count, __m256 sums) {
  const QuantizedRow& x = quantized_row(a, i);
  sums = _mm256_mul_ps(sums, _mm256_set1_ps(x.scale));
  if (a.outliers && x.outliers > 0) {
    alignas(32) float more[kLanes] = {};
    for (std::size_t l = 0; l < count; ++l) more[l] = outlier_sum(*a.w, x, j + l);
    sums = _mm256_add_ps(sums, _mm256_load_ps(more));
  }
  store_sums(a.out, a.ldo, a.epilogue, i, j, count, sums);
}

}  // namespace
}  // namespace inferno::kernels::avx2

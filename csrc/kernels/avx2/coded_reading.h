// Scales and zeros of a matrix of codes, eight at a time. Internal linkage, as lanes.h.
#pragma once

#include "kernels/avx2/lanes.h"
#include "kernels/coded.h"

namespace inferno::kernels::avx2 {
namespace {

// Up to eight bytes; the rest of the 16 is zero.
inline __m128i load_bytes(const void* p, std::size_t count) {
  if (count == 8) return _mm_loadl_epi64(static_cast<const __m128i*>(p));
  std::uint64_t bytes = 0;
  std::memcpy(&bytes, p, count);
  return _mm_cvtsi64_si128(static_cast<long long>(bytes));
}

inline __m256i load_words(const void* array, std::size_t i, std::size_t count) {
  const int* p = static_cast<const int*>(array) + i;
  return count == kLanes ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                         : _mm256_maskload_epi32(p, mask_of(count));
}

inline __m256i broadcast_word(const void* array, std::size_t i) {
  std::uint32_t word;
  std::memcpy(&word, static_cast<const unsigned char*>(array) + i * sizeof word, sizeof word);
  return _mm256_set1_epi32(static_cast<int>(word));
}

inline float nested_scale(const Scales& s, std::size_t i) {
  float scale;
  std::memcpy(&scale, s.nested_scales + i / s.nested_block, sizeof scale);
  return scale;
}

// Elements [i, i + count) of the scales, count <= 8; the other lanes are anything finite.
inline __m256 scales_at(const Scales& s, std::size_t i, std::size_t count) {
  __m256 scale = _mm256_setzero_ps();
  switch (s.type) {
    case ScaleType::kF32:
      scale = load_count(F32{}, elements<F32>(s.data) + i, count);
      break;
    case ScaleType::kF16:
      scale = load_count(F16{}, elements<F16>(s.data) + i, count);
      break;
    case ScaleType::kBF16:
      scale = load_count(BF16{}, elements<BF16>(s.data) + i, count);
      break;
    case ScaleType::kNested: {
      const __m256i codes = _mm256_cvtepu8_epi32(load_bytes(static_cast<const unsigned char*>(s.data) + i, count));
      __m256 outer;
      if (i / s.nested_block == (i + count - 1) / s.nested_block) {
        outer = _mm256_set1_ps(nested_scale(s, i));
      } else {
        alignas(32) float each[kLanes] = {};
        for (std::size_t l = 0; l < count; ++l) each[l] = nested_scale(s, i + l);
        outer = _mm256_load_ps(each);
      }
      scale = _mm256_mul_ps(_mm256_i32gather_ps(s.nested_levels, codes, 4), outer);
      scale = _mm256_add_ps(scale, _mm256_set1_ps(s.nested_offset));
      break;
    }
  }
  return _mm256_mul_ps(scale, _mm256_set1_ps(s.factor));
}

// AutoAWQ's shifts of the eight columns of a word.
inline __m256i awq_shifts() { return _mm256_setr_epi32(0, 16, 4, 20, 8, 24, 12, 28); }

// The zeros that belong to elements [i, i + count) of the scales. Those are blocks [c, c + count) of row r where rows
// of w lie one after the other, and else rows [r, r + count), r a multiple of 8, of block c.
inline __m256 zeros_at(const CodedMatrix& w, std::size_t i, std::size_t r, std::size_t c, std::size_t count) {
  const Zeros& z = w.zeros;
  const __m256i low4 = _mm256_set1_epi32(15), low8 = _mm256_set1_epi32(255);
  const __m256i constant = _mm256_set1_epi32(z.constant);
  const auto* bytes = static_cast<const unsigned char*>(z.data);
  __m256i zero = constant;
  switch (z.type) {
    case ZeroType::kConstant:
      break;
    case ZeroType::kI8:
      zero = _mm256_cvtepi8_epi32(load_bytes(bytes + i, count));
      break;
    case ZeroType::kU8:
      zero = _mm256_cvtepu8_epi32(load_bytes(bytes + i, count));
      break;
    case ZeroType::kPackedRows4: {
      const __m256i words = load_words(z.data, r / 8 * w.column_blocks + c, count);
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(r % 8 * 4));
      zero = _mm256_add_epi32(constant, _mm256_and_si256(_mm256_srl_epi32(words, shift), low4));
      break;
    }
    case ZeroType::kPackedRows8: {
      const __m256i words = load_words(z.data, r / 4 * w.column_blocks + c, count);
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(r % 4 * 8));
      zero = _mm256_add_epi32(constant, _mm256_and_si256(_mm256_srl_epi32(words, shift), low8));
      break;
    }
    case ZeroType::kPackedColumns4: {
      const __m256i word = broadcast_word(z.data, c * (w.n / 8) + r / 8);
      const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
      zero = _mm256_add_epi32(constant, _mm256_and_si256(_mm256_srlv_epi32(word, shifts), low4));
      break;
    }
    case ZeroType::kPackedColumns8:  // in bytes the order is that of the rows
      zero = _mm256_add_epi32(constant, _mm256_cvtepu8_epi32(load_bytes(bytes + c * w.n + r, count)));
      break;
    case ZeroType::kPackedAwq4: {
      const __m256i word = broadcast_word(z.data, c * (w.n / 8) + r / 8);
      zero = _mm256_add_epi32(constant, _mm256_and_si256(_mm256_srlv_epi32(word, awq_shifts()), low4));
      break;
    }
  }
  return _mm256_cvtepi32_ps(zero);
}

// Whether eight columns from a multiple of eight on may belong to several blocks of w.
inline bool is_gathered(const CodedMatrix& w) {
  return w.block_of != nullptr || (w.column_blocks > 1 && w.block_columns % kLanes != 0);
}

// The blocks of columns [p, p + count), count <= 8; the other lanes are 0.
inline __m256i column_blocks(const CodedMatrix& w, std::size_t p, std::size_t count) {
  if (w.block_of != nullptr) return load_words(w.block_of, p, count);
  alignas(32) std::int32_t block[kLanes] = {};
  for (std::size_t l = 0; l < count; ++l) block[l] = static_cast<std::int32_t>((p + l) / w.block_columns);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(block));
}

// Whether for the first `count` lanes (value - zero) * scale, rounded once, is fma(value, scale, -(zero * scale)): it
// is where the last product is exact, as it is with scales of few bits. The sign asks for no zero of the other sign;
// the range leaves room to multiply and divide scales by 2^16, and to tell an inexact product by its error.
inline bool fusible(__m256 scale, __m256 zero, std::size_t count) {
  const __m256 error = _mm256_fmsub_ps(zero, scale, _mm256_mul_ps(zero, scale));
  const __m256 exact = _mm256_cmp_ps(error, _mm256_setzero_ps(), _CMP_EQ_OQ);
  const __m256 low = _mm256_cmp_ps(scale, _mm256_set1_ps(0x1p-80f), _CMP_GE_OQ);
  const __m256 high = _mm256_cmp_ps(scale, _mm256_set1_ps(0x1p80f), _CMP_LE_OQ);
  const int good = _mm256_movemask_ps(_mm256_and_ps(exact, _mm256_and_ps(low, high)));
  const int wanted = (1 << count) - 1;
  return (good & wanted) == wanted;
}

// What fma() adds: see fusible().
inline __m256 fused_offset(__m256 scale, __m256 zero) {
  return _mm256_xor_ps(_mm256_mul_ps(zero, scale), _mm256_set1_ps(-0.0f));
}

}  // namespace
}  // namespace inferno::kernels::avx2

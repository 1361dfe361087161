// Panels of codes in scratch, pairs along k side by side and lanes along n, and the tile that reads them. Internal
// linkage, as lanes.h.
#pragma once

#include "kernels/avx2/constants.h"
#include "kernels/avx2/int8_columns.h"
#include "kernels/avx2/madd.h"

namespace inferno::kernels::avx2 {
namespace {

// Tiles of up to 6 rows by 16 columns are 12 accumulators; with two vectors of the panel, a broadcast pair of x and a
// product all 16 registers are used, and 8 loads serve 12 multiply-adds.
constexpr std::size_t kMr = 6, kNr = 16;
// Columns and depth of a panel, and rows of x that share it.
constexpr std::size_t kNc = 64, kKc = 512, kMc = 256;

// Transposes 4 x 4 dwords in each half: dword r of v becomes the dwords of row r of out, a pair of k apart.
inline void store_transposed(const __m256i (&v)[4], std::int16_t* out) {
  const __m256i low01 = _mm256_unpacklo_epi32(v[0], v[1]), high01 = _mm256_unpackhi_epi32(v[0], v[1]);
  const __m256i low23 = _mm256_unpacklo_epi32(v[2], v[3]), high23 = _mm256_unpackhi_epi32(v[2], v[3]);
  const auto store = [&](std::size_t pair, __m256i row) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + pair * 2 * kNr), row);
  };
  store(0, _mm256_unpacklo_epi64(low01, low23));
  store(1, _mm256_unpackhi_epi64(low01, low23));
  store(2, _mm256_unpacklo_epi64(high01, high23));
  store(3, _mm256_unpackhi_epi64(high01, high23));
}

// Widens 16 codes of each of eight rows. Rows 4 to 7 go to the upper halves, so that nothing has to cross later.
template <class W>
void fill_eight(std::int16_t* out, const typename W::Storage* const (&rows)[kLanes], const std::int32_t* zero) {
  __m256i low[4], high[4];
  for (std::size_t r = 0; r < 4; ++r) {
    const __m256i codes =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load_codes(rows[r])), load_codes(rows[r + 4]), 1);
    const __m256i shift = _mm256_set_m128i(_mm_set1_epi16(static_cast<std::int16_t>(zero[r + 4])),
                                           _mm_set1_epi16(static_cast<std::int16_t>(zero[r])));
    low[r] = _mm256_sub_epi16(W::widen_low(codes), shift);
    high[r] = _mm256_sub_epi16(W::widen_high(codes), shift);
  }
  store_transposed(low, out);
  store_transposed(high, out + kLanes * kNr);
}

// Widens columns [p, p + depth) of 16 rows of w, of which `count` exist, to (pairs, 16, 2). Past `depth` is zero; rows
// that do not exist repeat the last one.
template <class W>
void fill_panel(std::int16_t* panel, const CodedMatrix& w, std::size_t j, std::size_t count, std::size_t p,
                std::size_t depth, const std::int32_t* zero) {
  const typename W::Storage* rows[kNr];
  for (std::size_t l = 0; l < kNr; ++l) rows[l] = codes_of<W>(w, j + std::min(l, count - 1)) + p;
  std::size_t q = 0;
  for (; q + kCodes <= depth; q += kCodes, panel += kCodes * kNr) {
    for (std::size_t half = 0; half < kNr; half += kLanes) {
      const typename W::Storage* eight[kLanes];
      for (std::size_t l = 0; l < kLanes; ++l) eight[l] = rows[half + l] + q;
      fill_eight<W>(panel + 2 * half, eight, zero + half);
    }
  }
  for (; q < depth; q += 2, panel += 2 * kNr) {
    for (std::size_t l = 0; l < kNr; ++l) {
      panel[2 * l] = static_cast<std::int16_t>(rows[l][q] - zero[l]);
      panel[2 * l + 1] = q + 1 < depth ? static_cast<std::int16_t>(rows[l][q + 1] - zero[l]) : std::int16_t{0};
    }
  }
}

// What becomes of a tile's sums.
enum class Then { kKeep, kScale };

// Adds the products of MR rows of x and a panel of 16 columns to `sums` (int32, row stride kNc; `fresh`: sets them).
// kScale: the sums are complete, and are added times the scales to `scaled` (`first`: which is set).
template <std::size_t MR>
void tile(const std::int16_t* panel, const char* x, std::size_t x_bytes, std::size_t pairs, std::int32_t* sums,
          bool fresh, Then then, const float* scales, float* scaled, bool first) {
  constexpr auto rows = std::make_index_sequence<MR>{};
  __m256i acc[MR][2];
  each_constant(rows, [&](auto i) __attribute__((always_inline)) {
    for (std::size_t h = 0; h < 2; ++h) {
      acc[i][h] = fresh ? _mm256_setzero_si256()
                        : _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + i * kNc + h * kLanes));
    }
  });
  for (std::size_t q = 0; q < pairs; ++q) {
    const __m256i b0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + q * 2 * kNr));
    const __m256i b1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + q * 2 * kNr + kCodes));
    each_constant(rows, [&](auto i) __attribute__((always_inline)) {
      const __m256i a = _mm256_set1_epi32(load_raw<std::int32_t>(x + i * x_bytes + q * 4));
      madd(acc[i][0], a, b0);
      madd(acc[i][1], a, b1);
    });
  }
  each_constant(rows, [&](auto i) __attribute__((always_inline)) {
    for (std::size_t h = 0; h < 2; ++h) {
      if (then == Then::kKeep) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(sums + i * kNc + h * kLanes), acc[i][h]);
        continue;
      }
      float* to = scaled + i * kNc + h * kLanes;
      const __m256 before = first ? _mm256_setzero_ps() : _mm256_load_ps(to);
      const __m256 scale = _mm256_load_ps(scales + h * kLanes);
      _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[i][h]), scale, before));
    }
  });
}

}  // namespace
}  // namespace inferno::kernels::avx2

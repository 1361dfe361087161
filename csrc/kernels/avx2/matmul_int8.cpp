// vpmaddwd on codes in 16 bits: two products of at most 255 * 255 each fit its 32-bit sums, whatever the codes, and
// -128 is like any other. (vpmaddubsw on the codes as they lie would saturate, and its products of -128 have no sign to
// take.)
//
// Two paths, both exact, so that they need no common order of additions:
//   few rows of x:   weights are widened in registers as they stream from memory, lanes along k;
//   many rows of x:  a panel of weights is widened once into scratch, pairs along k side by side, lanes along n.
#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/avx2/epilogue.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/madd.h"
#include "kernels/scalar/int8_codes.h"

namespace inferno::kernels::avx2 {
namespace {

// Codes in a vector of 16 bits each.
constexpr std::size_t kCodes = 16;
// Rows of x from which on a panel pays.
constexpr std::size_t kPanelRows = 10;
// Panel path: tiles of up to 6 rows by 16 columns are 12 accumulators; with two vectors of the panel, a broadcast pair
// of x and a product all 16 registers are used, and 8 loads serve 12 multiply-adds.
constexpr std::size_t kMr = 6, kNr = 16;
constexpr std::size_t kNc = 64, kKc = 512, kMc = 256;
// One row of x: eight rows of weights at once keep memory streams busy.
constexpr std::size_t kGemvNr = 8;
// A few rows of x: each widened vector of two rows of weights meets four rows of x.
constexpr std::size_t kFewMr = 4, kFewNr = 2;
constexpr std::size_t kCacheLine = 64;
// How far ahead of its use a streamed row is asked for; a row that ends sooner is followed by the one that is next in
// its place. Without this the first lines of every row would be waited for.
constexpr std::size_t kPrefetchBytes = 512;

static_assert(kNc % kMatMulInt8Columns == 0 && kMatMulInt8Columns % kNr == 0 && kGemvNr == kLanes &&
              kGemvNr % kFewNr == 0);
// In scratch: the panel, int32 sums of a block, float32 sums of blocks.
constexpr std::size_t kPanelBytes = kNc * kKc * sizeof(std::int16_t);
constexpr std::size_t kSumBytes = kMc * kNc * sizeof(std::int32_t);
static_assert(kPanelBytes + 2 * kSumBytes <= kMatMulScratchBytes);
static_assert(kPanelRows <= kMc);

struct I8 {
  using Storage = std::int8_t;
  static __m256i widen(__m128i v) { return _mm256_cvtepi8_epi16(v); }
};
struct U8 {
  using Storage = std::uint8_t;
  static __m256i widen(__m128i v) { return _mm256_cvtepu8_epi16(v); }
};

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

// The first `count` < 16 codes; the other lanes are zero and their memory is not touched.
template <class W>
__m256i load_codes_part(const typename W::Storage* p, std::size_t count) {
  alignas(16) typename W::Storage lanes[kCodes] = {};
  std::memcpy(lanes, p, count);
  return W::widen(_mm_load_si128(reinterpret_cast<const __m128i*>(lanes)));
}
__m256i load_x_part(const std::int16_t* p, std::size_t count) {
  alignas(32) std::int16_t lanes[kCodes] = {};
  std::memcpy(lanes, p, count * sizeof *p);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes));
}

template <class W>
const typename W::Storage* codes_of(const CodedMatrix& w, std::size_t j) {
  return static_cast<const typename W::Storage*>(w.codes) + j * w.row_bytes;
}

// Scales and zeros of columns [j, j + count) of out, count <= N, for one block of columns of w.
template <std::size_t N>
struct Block {
  alignas(32) float scale[N];
  alignas(32) std::int32_t zero[N];
  bool zeros;  // whether one of `zero` is not 0

  Block(const CodedMatrix& w, std::size_t j, std::size_t count, std::size_t c) : scale{}, zero{}, zeros(false) {
    const bool plain = w.zeros.type == ZeroType::kConstant;
    for (std::size_t l = 0; l < count; ++l) {
      const std::size_t r = (j + l) / w.block_rows;
      scale[l] = scale_at(w, r, c);
      zero[l] = plain ? w.zeros.constant : zero_at(w, r, c);
      zeros |= zero[l] != 0;
    }
  }
  __m256 scales(std::size_t l) const { return _mm256_load_ps(scale + l); }
};

// --- Few rows of x.

// The sums of lanes of eight vectors: lane j of the result is that of v[j].
__m256i sum8(const __m256i (&v)[8]) {
  const __m256i v0123 = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  const __m256i v4567 = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(v0123, v4567, 0x20), _mm256_permute2x128_si256(v0123, v4567, 0x31));
}

// Adds the products of NR rows of weights and MR rows of x over `k` columns. The rows end after `left` columns, and
// those that follow are `next` bytes away.
template <class W, std::size_t MR, std::size_t NR, bool kZeros>
[[gnu::always_inline]] inline void dot(__m256i (&acc)[MR][NR], const typename W::Storage* const (&w)[NR],
                                       const std::int16_t* const (&x)[MR], std::size_t k, const std::int32_t* zero,
                                       std::size_t left, std::size_t next) {
  const auto step = [&](std::size_t p, auto load_w, auto load_x) {
    for (std::size_t j = 0; j < NR; ++j) {
      __m256i codes = load_w(w[j] + p);
      if constexpr (kZeros) codes = _mm256_sub_epi16(codes, _mm256_set1_epi16(static_cast<std::int16_t>(zero[j])));
      for (std::size_t i = 0; i < MR; ++i) {
        acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(codes, load_x(x[i] + p)));
      }
    }
  };
  const auto whole_w = [](const typename W::Storage* at) {
    return W::widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  };
  const auto whole_x = [](const std::int16_t* at) { return load(at); };
  std::size_t p = 0;
  for (; p + kCacheLine <= k; p += kCacheLine) {
    const std::size_t ahead = p + kPrefetchBytes, place = ahead < left ? ahead : ahead - left + next;
    for (std::size_t j = 0; j < NR; ++j) _mm_prefetch(reinterpret_cast<const char*>(w[j]) + place, _MM_HINT_T0);
    for (std::size_t v = 0; v < kCacheLine; v += kCodes) step(p + v, whole_w, whole_x);
  }
  for (; p + kCodes <= k; p += kCodes) step(p, whole_w, whole_x);
  if (p == k) return;
  step(
      p, [&](const typename W::Storage* at) { return load_codes_part<W>(at, k - p); },
      [&](const std::int16_t* at) { return load_x_part(at, k - p); });
}

// Sums of columns [j, j + 8) over block c for MR rows of x from row i: lanes hold one column each. Columns past `count`
// repeat the last one.
template <class W, std::size_t MR, std::size_t NR, bool kZeros>
void dot_columns(const MatMulInt8Args& a, std::size_t i, std::size_t j, std::size_t count, std::size_t c,
                 const Block<kLanes>& block, __m256i (&sums)[MR]) {
  const CodedMatrix& w = *a.w;
  const std::size_t begin = c * w.block_columns, k = std::min(w.block_columns, w.k - begin);
  const std::int16_t* x[MR];
  for (std::size_t r = 0; r < MR; ++r) x[r] = quantized_row(a, i + r).codes() + begin;
  __m256i lanes[MR][kLanes];
  for (std::size_t l = 0; l < kLanes; l += NR) {
    const typename W::Storage* rows[NR];
    for (std::size_t n = 0; n < NR; ++n) rows[n] = codes_of<W>(w, j + std::min(l + n, count - 1)) + begin;
    __m256i acc[MR][NR];
    for (auto& row : acc) {
      for (__m256i& v : row) v = _mm256_setzero_si256();
    }
    dot<W, MR, NR, kZeros>(acc, rows, x, k, block.zero + l, w.k - begin, NR * w.row_bytes - begin);
    for (std::size_t r = 0; r < MR; ++r) {
      for (std::size_t n = 0; n < NR; ++n) lanes[r][l + n] = acc[r][n];
    }
  }
  for (std::size_t r = 0; r < MR; ++r) sums[r] = sum8(lanes[r]);
}

void finish(const MatMulInt8Args& a, std::size_t i, std::size_t j, std::size_t count, __m256 sums) {
  const QuantizedRow& x = quantized_row(a, i);
  sums = _mm256_mul_ps(sums, _mm256_set1_ps(x.scale));
  if (a.outliers && x.outliers > 0) {
    alignas(32) float more[kLanes] = {};
    for (std::size_t l = 0; l < count; ++l) more[l] = outlier_sum(*a.w, x, j + l);
    sums = _mm256_add_ps(sums, _mm256_load_ps(more));
  }
  store_sums(a.out, a.ldo, a.epilogue, i, j, count, sums);
}

template <class W, std::size_t MR, std::size_t NR>
void dot_rows(const MatMulInt8Args& a, std::size_t i, std::size_t j, std::size_t count) {
  const CodedMatrix& w = *a.w;
  __m256 sums[MR];
  for (__m256& v : sums) v = _mm256_setzero_ps();
  for (std::size_t c = 0; c < w.column_blocks; ++c) {
    const Block<kLanes> block(w, j, count, c);
    __m256i products[MR];
    if (block.zeros) {
      dot_columns<W, MR, NR, true>(a, i, j, count, c, block, products);
    } else {
      dot_columns<W, MR, NR, false>(a, i, j, count, c, block, products);
    }
    for (std::size_t r = 0; r < MR; ++r) {
      sums[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[r]), block.scales(0), sums[r]);
    }
  }
  for (std::size_t r = 0; r < MR; ++r) finish(a, i + r, j, count, sums[r]);
}

// Calls f with `n` as a compile-time constant, 1 <= n <= N.
template <std::size_t N, class F>
void with_constant(std::size_t n, F f) {
  if constexpr (N > 1) {
    if (n < N) return with_constant<N - 1>(n, f);
  }
  f(std::integral_constant<std::size_t, N>{});
}

template <class W>
void few_rows(const MatMulInt8Args& a) {
  for (std::size_t j = a.n_begin; j < a.n_end; j += kLanes) {
    const std::size_t count = std::min(kLanes, a.n_end - j);
    if (a.m == 1) {
      dot_rows<W, 1, kGemvNr>(a, 0, j, count);
      continue;
    }
    for (std::size_t i = 0; i < a.m; i += kFewMr) {
      with_constant<kFewMr>(std::min(kFewMr, a.m - i), [&](auto rows) { dot_rows<W, rows, kFewNr>(a, i, j, count); });
    }
  }
}

// --- Many rows of x.

// Transposes 8 x 8 dwords: row r of `v` becomes dword r of each stored vector, 64 bytes apart.
void store_transposed(const __m256i (&v)[8], std::int16_t* out) {
  __m256i pairs[8], fours[8];
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    pairs[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
  for (int h = 0; h < 2; ++h) {
    for (int i = 0; i < 2; ++i) {
      fours[4 * h + 2 * i] = _mm256_unpacklo_epi64(pairs[4 * h + i], pairs[4 * h + 2 + i]);
      fours[4 * h + 2 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * h + i], pairs[4 * h + 2 + i]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 2 * kNr),
                       _mm256_permute2x128_si256(fours[i], fours[4 + i], 0x20));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + (4 + i) * 2 * kNr),
                       _mm256_permute2x128_si256(fours[i], fours[4 + i], 0x31));
  }
}

// Widens columns [p, p + depth) of 16 rows of w, of which `count` exist, to (pairs, 16, 2); the rest is zero.
template <class W>
void fill_panel(std::int16_t* panel, const CodedMatrix& w, std::size_t j, std::size_t count, std::size_t p,
                std::size_t depth, const std::int32_t* zero) {
  for (std::size_t q = 0; q < depth; q += kCodes) {
    const std::size_t width = std::min(kCodes, depth - q);
    for (std::size_t half = 0; half < kNr; half += kLanes) {
      __m256i v[kLanes];
      for (std::size_t l = 0; l < kLanes; ++l) {
        if (half + l >= count) {
          v[l] = _mm256_setzero_si256();
          continue;
        }
        const auto* at = codes_of<W>(w, j + half + l) + p + q;
        const __m256i shift = _mm256_set1_epi16(static_cast<std::int16_t>(zero[half + l]));
        if (width == kCodes) {
          v[l] = _mm256_sub_epi16(W::widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))), shift);
        } else {
          alignas(32) std::int16_t lanes[kCodes] = {};
          for (std::size_t e = 0; e < width; ++e) lanes[e] = static_cast<std::int16_t>(at[e] - zero[half + l]);
          v[l] = _mm256_load_si256(reinterpret_cast<const __m256i*>(lanes));
        }
      }
      store_transposed(v, panel + q * kNr + half * 2);
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

// Rows [i_begin, i_end) of x, at most kMc; columns [j_begin, j_end), at most kNc.
template <class W>
void panel_columns(const MatMulInt8Args& a, std::size_t i_begin, std::size_t i_end, std::size_t j_begin,
                   std::size_t j_end) {
  const CodedMatrix& w = *a.w;
  auto* panel = static_cast<std::int16_t*>(a.scratch);
  auto* sums = reinterpret_cast<std::int32_t*>(static_cast<char*>(a.scratch) + kPanelBytes);
  auto* scaled = reinterpret_cast<float*>(static_cast<char*>(a.scratch) + kPanelBytes + kSumBytes);
  const std::size_t count = j_end - j_begin;
  for (std::size_t c = 0; c < w.column_blocks; ++c) {
    const Block<kNc> block(w, j_begin, count, c);
    const std::size_t begin = c * w.block_columns, end = std::min(begin + w.block_columns, w.k);
    for (std::size_t p = begin; p < end; p += kKc) {
      const std::size_t depth = std::min(kKc, end - p);
      // Pairs are read whole from x: past the end of a block the panel is zero, and rows of x are padded.
      for (std::size_t n = 0; n < count; n += kNr) {
        fill_panel<W>(panel + n * kKc, w, j_begin + n, std::min(kNr, count - n), p, depth, block.zero + n);
      }
      const Then then = p + depth == end ? Then::kScale : Then::kKeep;
      for (std::size_t i = i_begin; i < i_end; i += kMr) {
        const char* x = reinterpret_cast<const char*>(quantized_row(a, i).codes() + p);
        const std::size_t place = (i - i_begin) * kNc;
        with_constant<kMr>(std::min(kMr, i_end - i), [&](auto rows) {
          for (std::size_t n = 0; n < count; n += kNr) {
            tile<rows>(panel + n * kKc, x, a.x_bytes, (depth + 1) / 2, sums + place + n, p == begin, then,
                       block.scale + n, scaled + place + n, c == 0);
          }
        });
      }
    }
  }
  for (std::size_t i = i_begin; i < i_end; ++i) {
    for (std::size_t n = 0; n < count; n += kLanes) {
      finish(a, i, j_begin + n, std::min(kLanes, count - n), _mm256_load_ps(scaled + (i - i_begin) * kNc + n));
    }
  }
}

template <class W>
void matmul_int8(const MatMulInt8Args& a) {
  if (a.m < kPanelRows) return few_rows<W>(a);
  for (std::size_t j = a.n_begin; j < a.n_end; j += kNc) {
    for (std::size_t i = 0; i < a.m; i += kMc) {
      panel_columns<W>(a, i, std::min(i + kMc, a.m), j, std::min(j + kNc, a.n_end));
    }
  }
}

}  // namespace

void matmul_f32_i8_i8(const MatMulInt8Args& args) { matmul_int8<I8>(args); }
void matmul_f32_i8_u8(const MatMulInt8Args& args) { matmul_int8<U8>(args); }

}  // namespace inferno::kernels::avx2

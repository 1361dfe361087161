// vpmaddwd on codes in 16 bits: two products of at most 255 * 255 each fit its 32-bit sums, whatever the codes, and
// -128 is like any other. (vpmaddubsw on the codes as they lie would saturate, and its products of -128 have no sign to
// take.)
//
// Two paths, both exact, so that they need no common order of additions:
//   few rows of x:   weights are widened in registers as they stream from memory, lanes along k;
//   many rows of x:  a panel of weights is widened once into scratch, pairs along k side by side, lanes along n.
#include <algorithm>

#include "kernels/avx2/constants.h"
#include "kernels/avx2/int8_columns.h"
#include "kernels/avx2/int8_panel.h"
#include "kernels/avx2/kernels.h"

namespace inferno::kernels::avx2 {
namespace {

// Rows of x from which on a panel pays; with blocks along k, each of which ends in sums of lanes, sooner.
constexpr std::size_t kPanelRows = 10, kPanelRowsOfBlocks = 5;
// One row of x: eight rows of weights at once keep memory streams busy.
constexpr std::size_t kGemvNr = 8;
// A few rows of x: each widened vector of two rows of weights meets four rows of x, or of four rows two.
constexpr std::size_t kFewMr = 4, kFewNr = 2;
constexpr std::size_t kCacheLine = 64;
// How much is asked for ahead of its use, over all streamed rows; what a row's end leaves of it is asked of the row
// that is next in its place. Left to the hardware, the first lines of every row would be waited for.
constexpr std::size_t kPrefetchBytes = 4096;

static_assert(kNc % kMatMulInt8Columns == 0 && kMatMulInt8Columns % kNr == 0 && kGemvNr == kLanes &&
              kGemvNr % kFewNr == 0);
// In scratch: the panel, int32 sums of a block, float32 sums of blocks.
constexpr std::size_t kPanelBytes = kNc * kKc * sizeof(std::int16_t);
constexpr std::size_t kSumBytes = kMc * kNc * sizeof(std::int32_t);
static_assert(kPanelBytes + 2 * kSumBytes <= kMatMulScratchBytes);
static_assert(kPanelRows <= kMc);
// Columns whose sums of one row of x lie in scratch at once.
constexpr std::size_t kStreamed = 4096;
static_assert(kStreamed * sizeof(std::int32_t) <= kMatMulScratchBytes && kStreamed % kLanes == 0);
constexpr std::size_t kPageBytes = 4096;

// --- Few rows of x.

__m256i load(const std::int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

// The first `count` < 16 codes; the other lanes are zero and their memory is not touched.
template <class W>
__m256i load_codes_part(const typename W::Storage* p, std::size_t count) {
  alignas(16) typename W::Storage lanes[kCodes] = {};
  std::memcpy(lanes, p, count);
  return W::widen(load_codes(lanes));
}
__m256i load_x_part(const std::int16_t* p, std::size_t count) {
  alignas(32) std::int16_t lanes[kCodes] = {};
  std::memcpy(lanes, p, count * sizeof *p);
  return load(lanes);
}

// The sums of lanes of eight vectors: lane j of the result is that of v[j].
__m256i sum8(const __m256i (&v)[8]) {
  const __m256i v0123 = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
  const __m256i v4567 = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(v0123, v4567, 0x20), _mm256_permute2x128_si256(v0123, v4567, 0x31));
}

// What is asked for ahead: `bytes` further in the row, or where that ends after `left` bytes, in the row `next` bytes
// away.
struct Ahead {
  std::size_t bytes, left, next;
};

// Adds the products of NR rows of weights and MR rows of x over `k` columns.
template <class W, std::size_t MR, std::size_t NR, bool kZeros>
[[gnu::always_inline]] inline void dot(__m256i (&acc)[MR][NR], const typename W::Storage* const (&w)[NR],
                                       const std::int16_t* const (&x)[MR], std::size_t k, const std::int32_t* zero,
                                       const Ahead& ahead) {
  const auto step = [&](std::size_t p, auto load_w, auto load_x) {
    for (std::size_t j = 0; j < NR; ++j) {
      __m256i codes = load_w(w[j] + p);
      if constexpr (kZeros) codes = _mm256_sub_epi16(codes, _mm256_set1_epi16(static_cast<std::int16_t>(zero[j])));
      for (std::size_t i = 0; i < MR; ++i) {
        acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(codes, load_x(x[i] + p)));
      }
    }
  };
  const auto whole_w = [](const typename W::Storage* at) { return W::widen(load_codes(at)); };
  const auto whole_x = [](const std::int16_t* at) { return load(at); };
  // GCC drops calls of a function that only prefetches unless it has inlined them early.
  const auto prefetch = [&](std::size_t p) __attribute__((always_inline)) {
    const std::size_t there = p + ahead.bytes, place = there < ahead.left ? there : there - ahead.left + ahead.next;
    for (std::size_t j = 0; j < NR; ++j) _mm_prefetch(reinterpret_cast<const char*>(w[j]) + place, _MM_HINT_T0);
  };
  std::size_t p = 0;
  if (k < kCacheLine) prefetch(0);
  for (; p + kCacheLine <= k; p += kCacheLine) {
    prefetch(p);
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
  // Rows of weights that are read in step: with blocks along k, all eight go forward together.
  const std::size_t in_step = w.column_blocks == 1 ? NR : kLanes;
  const Ahead ahead{kPrefetchBytes / in_step, w.k - begin, in_step * w.row_bytes - begin};
  __m256i lanes[MR][kLanes];
  for (std::size_t l = 0; l < kLanes; l += NR) {
    const typename W::Storage* rows[NR];
    for (std::size_t n = 0; n < NR; ++n) rows[n] = codes_of<W>(w, j + std::min(l + n, count - 1)) + begin;
    __m256i acc[MR][NR];
    for (auto& row : acc) {
      for (__m256i& v : row) v = _mm256_setzero_si256();
    }
    dot<W, MR, NR, kZeros>(acc, rows, x, k, block.zero + l, ahead);
    for (std::size_t r = 0; r < MR; ++r) {
      for (std::size_t n = 0; n < NR; ++n) lanes[r][l + n] = acc[r][n];
    }
  }
  for (std::size_t r = 0; r < MR; ++r) sums[r] = sum8(lanes[r]);
}

template <class W, std::size_t MR, std::size_t NR>
void dot_rows(const MatMulInt8Args& a, std::size_t i, std::size_t j, std::size_t count) {
  const CodedMatrix& w = *a.w;
  __m256 sums[MR];
  for (__m256& v : sums) v = _mm256_setzero_ps();
  const Columns<kLanes> columns(w, j, count);
  for (std::size_t c = 0; c < w.column_blocks; ++c) {
    const Block<kLanes> block(w, columns, c);
    __m256i products[MR];
    if (block.zeros) {
      dot_columns<W, MR, NR, true>(a, i, j, count, c, block, products);
    } else {
      dot_columns<W, MR, NR, false>(a, i, j, count, c, block, products);
    }
    for (std::size_t r = 0; r < MR; ++r) {
      sums[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[r]), _mm256_load_ps(block.scale), sums[r]);
    }
  }
  for (std::size_t r = 0; r < MR; ++r) finish(a, i + r, j, count, sums[r]);
}

// One row of x, columns [begin, begin + kLanes * depth) whose rows of weights have one scale and one zero in common
// each: read as kLanes streams, each of `depth` rows one after another. Side by side, rows shorter than a page share
// pages, and the hardware follows one stream in a page.
template <class W, bool kZeros>
void dot_streams(const MatMulInt8Args& a, std::size_t begin, std::size_t depth) {
  const CodedMatrix& w = *a.w;
  auto* found = static_cast<std::int32_t*>(a.scratch);
  const std::int16_t* x[1] = {quantized_row(a, 0).codes()};
  std::int32_t zero[kLanes];
  std::fill(zero, zero + kLanes, w.zeros.constant);
  // After a row comes the next in storage.
  const Ahead ahead{kPrefetchBytes / kLanes, static_cast<std::size_t>(-1), 0};
  for (std::size_t i = 0; i < depth; ++i) {
    const typename W::Storage* rows[kLanes];
    for (std::size_t s = 0; s < kLanes; ++s) rows[s] = codes_of<W>(w, begin + s * depth + i);
    __m256i acc[1][kLanes];
    for (__m256i& v : acc[0]) v = _mm256_setzero_si256();
    dot<W, 1, kLanes, kZeros>(acc, rows, x, w.k, zero, ahead);
    alignas(32) std::int32_t sums[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), sum8(acc[0]));
    for (std::size_t s = 0; s < kLanes; ++s) found[s * depth + i] = sums[s];
  }
  for (std::size_t n = 0; n < kLanes * depth; n += kLanes) {
    const Block<kLanes> block(w, Columns<kLanes>(w, begin + n, kLanes), 0);
    const __m256 products = _mm256_cvtepi32_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(found + n)));
    finish(a, 0, begin + n, kLanes, _mm256_fmadd_ps(products, _mm256_load_ps(block.scale), _mm256_setzero_ps()));
  }
}

template <class W>
void one_row(const MatMulInt8Args& a) {
  const CodedMatrix& w = *a.w;
  std::size_t j = a.n_begin;
  if (w.column_blocks == 1 && w.zeros.type == ZeroType::kConstant && w.row_bytes < kPageBytes) {
    while (a.n_end - j >= kLanes) {
      const std::size_t depth = std::min(a.n_end - j, kStreamed) / kLanes;
      if (w.zeros.constant == 0) {
        dot_streams<W, false>(a, j, depth);
      } else {
        dot_streams<W, true>(a, j, depth);
      }
      j += kLanes * depth;
    }
  }
  for (; j < a.n_end; j += kLanes) dot_rows<W, 1, kGemvNr>(a, 0, j, std::min(kLanes, a.n_end - j));
}

template <class W>
void few_rows(const MatMulInt8Args& a) {
  if (a.m == 1) return one_row<W>(a);
  for (std::size_t j = a.n_begin; j < a.n_end; j += kLanes) {
    const std::size_t count = std::min(kLanes, a.n_end - j);
    for (std::size_t i = 0; i < a.m; i += kFewMr) {
      with_constant<kFewMr>(std::min(kFewMr, a.m - i),
                            [&](auto rows) { dot_rows<W, rows, rows <= 2 ? 2 * kFewNr : kFewNr>(a, i, j, count); });
    }
  }
}

// --- Many rows of x.

// Rows [i_begin, i_end) of x, at most kMc; columns [j_begin, j_end), at most kNc.
template <class W>
void panel_columns(const MatMulInt8Args& a, std::size_t i_begin, std::size_t i_end, std::size_t j_begin,
                   std::size_t j_end) {
  const CodedMatrix& w = *a.w;
  auto* panel = static_cast<std::int16_t*>(a.scratch);
  auto* sums = reinterpret_cast<std::int32_t*>(static_cast<char*>(a.scratch) + kPanelBytes);
  auto* scaled = reinterpret_cast<float*>(static_cast<char*>(a.scratch) + kPanelBytes + kSumBytes);
  const std::size_t count = j_end - j_begin;
  const Columns<kNc> columns(w, j_begin, count);
  for (std::size_t c = 0; c < w.column_blocks; ++c) {
    const Block<kNc> block(w, columns, c);
    const std::size_t begin = c * w.block_columns, end = std::min(begin + w.block_columns, w.k);
    for (std::size_t p = begin; p < end; p += kKc) {
      const std::size_t depth = std::min(kKc, end - p);
      // Pairs are read whole from x: past the end of a block the panel is zero, and past the end of a row x has a zero.
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
  if (a.m < (a.w->column_blocks == 1 ? kPanelRows : kPanelRowsOfBlocks)) return few_rows<W>(a);
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

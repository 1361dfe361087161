// Weights of codes in words that hold several rows or columns of w, the words of one k after those of another: eight
// columns of w are widened at once, and eight sums, one for each p modulo 8, stand for the lanes of matmul_tile.h.
//
// Words are first copied, a part of w at a time, to where they lie closely: in w they lie n apart, so that their lines
// compete for few places of the cache, and are used by several groups of columns.
#include "kernels/avx2/coded_reading.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/matmul_tile.h"
#include "kernels/matmul_coded.h"

namespace inferno::kernels::avx2 {
namespace {

// Half of a step of eight along k: four sums, their scales and zeros and what they need on the way fit the registers.
constexpr std::size_t kHalf = kLanes / 2;

// numbers<H>() gives half H of a step, for eight columns, from where its words lie in a part: what codes stand for
// divided by unit(i), a power of two that the scale takes up exactly.
struct Gptq4 {
  static constexpr std::size_t kPerWord = 8, kColumnsPerWord = 1;  // along k, along n
  static constexpr std::size_t kColumns = 128, kDepth = 256;       // of a part
  static constexpr std::size_t kUnits = 2;
  static __m256 unit(std::size_t i) { return _mm256_set1_ps(i == 0 ? 1 : 0x1p-4f); }
  template <std::size_t H>
  [[gnu::always_inline]] static void numbers(const unsigned char* words, std::size_t, __m256 (&out)[kHalf]) {
    const __m256i even = _mm256_set1_epi32(0x0f), odd = _mm256_set1_epi32(0xf0);
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    const __m256i low = H == 0 ? v : _mm256_srli_epi32(v, 16), high = _mm256_srli_epi32(v, H == 0 ? 8 : 24);
    out[0] = _mm256_cvtepi32_ps(_mm256_and_si256(low, even));
    out[1] = _mm256_cvtepi32_ps(_mm256_and_si256(low, odd));
    out[2] = _mm256_cvtepi32_ps(_mm256_and_si256(high, even));
    out[3] = _mm256_cvtepi32_ps(_mm256_and_si256(high, odd));
  }
};

struct Gptq8 {
  static constexpr std::size_t kPerWord = 4, kColumnsPerWord = 1;
  static constexpr std::size_t kColumns = 128, kDepth = 128;
  static constexpr std::size_t kUnits = 2;
  static __m256 unit(std::size_t i) { return _mm256_set1_ps(i == 0 ? 1 : 0x1p-8f); }
  template <std::size_t H>
  [[gnu::always_inline]] static void numbers(const unsigned char* words, std::size_t stride, __m256 (&out)[kHalf]) {
    const __m256i even = _mm256_set1_epi32(0xff), odd = _mm256_set1_epi32(0xff00);
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + H * stride));
    const __m256i high = _mm256_srli_epi32(v, 16);
    out[0] = _mm256_cvtepi32_ps(_mm256_and_si256(v, even));
    out[1] = _mm256_cvtepi32_ps(_mm256_and_si256(v, odd));
    out[2] = _mm256_cvtepi32_ps(_mm256_and_si256(high, even));
    out[3] = _mm256_cvtepi32_ps(_mm256_and_si256(high, odd));
  }
};

struct Awq4 {
  static constexpr std::size_t kPerWord = 1, kColumnsPerWord = 8;
  static constexpr std::size_t kColumns = 256, kDepth = 128;
  static constexpr std::size_t kUnits = 1;
  // Columns 2, 3, 6 and 7 lie in the high half of their byte.
  static __m256 unit(std::size_t) { return _mm256_setr_ps(1, 1, 0x1p-4f, 0x1p-4f, 1, 1, 0x1p-4f, 0x1p-4f); }
  template <std::size_t H>
  [[gnu::always_inline]] static void numbers(const unsigned char* words, std::size_t stride, __m256 (&out)[kHalf]) {
    const __m256i place = _mm256_setr_epi32(-256, -254, -256, -254, -255, -253, -255, -253);
    const __m256i half = _mm256_setr_epi32(0x0f, 0x0f, 0xf0, 0xf0, 0x0f, 0x0f, 0xf0, 0xf0);
    for (std::size_t i = 0; i < kHalf; ++i) {
      const __m256i byte = _mm256_shuffle_epi8(broadcast_word(words + (H * kHalf + i) * stride, 0), place);
      out[i] = _mm256_cvtepi32_ps(_mm256_and_si256(byte, half));
    }
  }
};

// Bytes of a row of words of a part.
template <class Words>
constexpr std::size_t kRowBytes = Words::kColumns / Words::kColumnsPerWord * sizeof(std::uint32_t);
template <class Words>
constexpr std::size_t kPartBytes = kRowBytes<Words> * Words::kDepth / Words::kPerWord;
// Words of a step of eight along k.
template <class Words>
constexpr std::size_t kStepBytes = kRowBytes<Words> * kLanes / Words::kPerWord;
// From a group of eight columns to the next.
template <class Words>
constexpr std::size_t kGroupBytes = kLanes / Words::kColumnsPerWord * sizeof(std::uint32_t);

// Where the parts of a call's scratch lie. One row of x needs no panel and few lanes: its part of w may be deeper.
constexpr std::size_t kMaxGroups = 32, kDeep = 16;
constexpr std::size_t kPartScratchBytes = std::size_t{16} << 10;
constexpr std::size_t kMaxDeep = 4096;  // of k
static_assert((kPanelFloats + kSumFloats + 2 * kLanes * kMaxGatheredBlocks) * sizeof(float) + kPartScratchBytes +
                  kMaxDeep * sizeof(std::int32_t) <=
              kMatMulCodedScratchBytes);
struct WordsScratch {
  float *panel, *lanes, *table;
  unsigned char *part, *deep_part;
  std::int32_t* block_of;
  explicit WordsScratch(void* scratch)
      : panel(static_cast<float*>(scratch)),
        lanes(panel + kPanelFloats),
        table(lanes + kSumFloats),
        part(reinterpret_cast<unsigned char*>(table + 2 * kLanes * kMaxGatheredBlocks)),
        deep_part(reinterpret_cast<unsigned char*>(lanes + kMaxGroups * kLanes * kLanes)),
        block_of(reinterpret_cast<std::int32_t*>(part + kPartScratchBytes)) {}
};
template <class Words>
constexpr bool kFits = kDeep * Words::kDepth <= kMaxDeep && Words::kColumns <= kMaxGroups * kLanes &&
                       kPartBytes<Words> <= kPartScratchBytes &&
                       kDeep * kPartBytes<Words> <= (kSumFloats - kMaxGroups * kLanes * kLanes) * sizeof(float);
static_assert(kFits<Gptq4> && kFits<Gptq8> && kFits<Awq4>);

// Part of w: columns from `column` on, `bytes` of each row of words, for k in [first, first + depth).
template <class Words>
struct Part {
  const unsigned char* words;
  std::size_t stride, rows, bytes;
  Part(const CodedMatrix& w, std::size_t column, std::size_t columns, std::size_t first, std::size_t depth)
      : stride(w.n / Words::kColumnsPerWord * sizeof(std::uint32_t)) {
    const std::size_t left = column < w.n ? w.n - column : 0;
    words = static_cast<const unsigned char*>(w.codes) + first / Words::kPerWord * stride +
            column / Words::kColumnsPerWord * sizeof(std::uint32_t);
    rows = (depth + Words::kPerWord - 1) / Words::kPerWord;
    bytes = (left < columns ? left : columns) / Words::kColumnsPerWord * sizeof(std::uint32_t);
  }
  void copy(unsigned char* to) const {
    for (std::size_t r = 0; r < rows; ++r) {
      const unsigned char* from = words + r * stride;
      for (std::size_t i = 0; i < bytes / 32 * 32; i += 32) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
        _mm256_store_si256(reinterpret_cast<__m256i*>(to + r * kRowBytes<Words> + i), v);
      }
      for (std::size_t i = bytes / 32 * 32; i < bytes; i += 4) std::memcpy(to + r * kRowBytes<Words> + i, from + i, 4);
    }
  }
};

// Asks for the lines of the next part while one is computed, some at a time: hardware does not foresee such strides.
template <class Words>
struct Ahead {
  static constexpr std::size_t kLines = 8;
  Part<Words> part;
  std::size_t row = 0, at = 0;
  void ask() {
    for (std::size_t i = 0; i < kLines && row < part.rows; ++i) {
      _mm_prefetch(reinterpret_cast<const char*>(part.words + row * part.stride + at), _MM_HINT_T1);
      at += kCacheLine;
      if (at < part.bytes) continue;
      at = 0;
      ++row;
    }
  }
};

// Scales, and zeros or fused offsets, of eight columns for some blocks of k.
struct Table {
  float* room;
  std::size_t first;
  bool fused = true;

  Table(const CodedMatrix& w, std::size_t j, std::size_t begin, std::size_t end, float* room)
      : room(room), first(begin) {
    const std::size_t columns = w.n - j < kLanes ? w.n - j : kLanes;
    for (std::size_t c = begin; c < end; ++c) {
      const std::size_t at = c * w.scales.column_stride + j;
      const __m256 scale = scales_at(w.scales, at, columns), zero = zeros_at(w, at, j, c, columns);
      fused = fusible(scale, zero, columns) && fused;
      _mm256_store_ps(room + (c - begin) * 2 * kLanes, scale);
      _mm256_store_ps(room + (c - begin) * 2 * kLanes + kLanes, zero);
    }
    if (!fused) return;
    for (float* side = room; side < room + (end - begin) * 2 * kLanes; side += 2 * kLanes) {
      _mm256_store_ps(side + kLanes, fused_offset(_mm256_load_ps(side), _mm256_load_ps(side + kLanes)));
    }
  }
  __m256 scale(std::size_t c) const { return _mm256_load_ps(room + (c - first) * 2 * kLanes); }
  __m256 offset(std::size_t c) const { return _mm256_load_ps(room + (c - first) * 2 * kLanes + kLanes); }
};

// Widens numbers of one block of k.
template <class Words, bool kFused>
struct OneBlock {
  __m256 scale[Words::kUnits], offset;
  OneBlock(const Table& table, std::size_t c) : offset(table.offset(c)) {
    for (std::size_t u = 0; u < Words::kUnits; ++u) {
      scale[u] = kFused ? _mm256_mul_ps(table.scale(c), Words::unit(u)) : table.scale(c);
    }
  }
  [[gnu::always_inline]] __m256 widened(std::size_t, std::size_t i, __m256 number) const {
    const std::size_t u = i % Words::kUnits;
    if constexpr (kFused) return _mm256_fmadd_ps(number, scale[u], offset);
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_mul_ps(number, Words::unit(u)), offset), scale[u]);
  }
};

// Widens numbers of any blocks, by the block of each p.
template <class Words, bool kFused>
struct AnyBlock {
  const Table& table;
  const std::int32_t* block_of;
  [[gnu::always_inline]] __m256 widened(std::size_t p, std::size_t i, __m256 number) const {
    const auto c = static_cast<std::size_t>(block_of[p + i]);
    const __m256 value = _mm256_mul_ps(number, Words::unit(i % Words::kUnits));
    if constexpr (kFused) return _mm256_fmadd_ps(value, table.scale(c), table.offset(c));
    return _mm256_mul_ps(_mm256_sub_ps(value, table.offset(c)), table.scale(c));
  }
};

// Calls f(sides, p, count) for the blocks that [first, first + depth) of k meets, with p counted from `first`.
template <class Words, class F>
void each_block(const CodedMatrix& w, std::size_t j, std::size_t first, std::size_t depth, const WordsScratch& scratch,
                F f) {
  if (is_gathered(w)) {
    const Table table(w, j, 0, w.column_blocks, scratch.table);
    const std::int32_t* block_of = scratch.block_of;
    if (w.block_of != nullptr) {
      block_of = w.block_of + first;
    } else {
      for (std::size_t p = 0; p < depth; ++p) {
        scratch.block_of[p] = static_cast<std::int32_t>((first + p) / w.block_columns);
      }
    }
    if (table.fused) return f(AnyBlock<Words, true>{table, block_of}, 0, depth);
    return f(AnyBlock<Words, false>{table, block_of}, 0, depth);
  }
  const std::size_t begin = first / w.block_columns, end = (first + depth - 1) / w.block_columns + 1;
  const Table table(w, j, begin, end, scratch.table);
  for (std::size_t c = begin, p = 0; c < end; ++c) {
    const std::size_t next = (c + 1) * w.block_columns - first, stop = next < depth ? next : depth;
    if (table.fused) {
      f(OneBlock<Words, true>(table, c), p, stop - p);
    } else {
      f(OneBlock<Words, false>(table, c), p, stop - p);
    }
    p = stop;
  }
}

// Adds half H of each step of eight in [p, p + count) to its four sums. words: of the part's first p, of these columns.
template <class Words, std::size_t H, class Sides>
void add_half(float* sums, const Sides& sides, const unsigned char* words, const float* x, std::size_t p,
              std::size_t count) {
  __m256 sum[kHalf], number[kHalf];
  for (std::size_t i = 0; i < kHalf; ++i) sum[i] = _mm256_load_ps(sums + (H * kHalf + i) * kLanes);
  const auto add = [&](std::size_t i) {
    const std::size_t at = H * kHalf + i;
    sum[i] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + p + at), sides.widened(p, at, number[i]), sum[i]);
  };
  words += p / kLanes * kStepBytes<Words>;
  for (; count >= kLanes; count -= kLanes, p += kLanes, words += kStepBytes<Words>) {
    Words::template numbers<H>(words, kRowBytes<Words>, number);
    for (std::size_t i = 0; i < kHalf; ++i) add(i);
  }
  if (count > H * kHalf) {
    Words::template numbers<H>(words, kRowBytes<Words>, number);
    for (std::size_t i = 0; i < kHalf; ++i) {
      if (H * kHalf + i < count) add(i);
    }
  }
  for (std::size_t i = 0; i < kHalf; ++i) _mm256_store_ps(sums + (H * kHalf + i) * kLanes, sum[i]);
}

// Joins sums[p modulo 8][column] of eight columns from j on, as sum() joins lanes, and stores those in [begin, end).
inline void store_group(const MatMulCodedArgs& a, const float* sums, std::size_t j, std::size_t begin,
                        std::size_t end) {
  __m256 v[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) v[i] = _mm256_load_ps(sums + i * kLanes);
  const __m256 even = _mm256_add_ps(_mm256_add_ps(v[0], v[4]), _mm256_add_ps(v[2], v[6]));
  const __m256 odd = _mm256_add_ps(_mm256_add_ps(v[1], v[5]), _mm256_add_ps(v[3], v[7]));
  alignas(32) float joined[2 * kLanes] = {};
  _mm256_store_ps(joined, _mm256_add_ps(even, odd));
  const std::size_t from = j < begin ? begin : j, to = end - j < kLanes ? end : j + kLanes;
  if (from < to) store_sums(a.out, a.ldo, a.epilogue, 0, from, to - from, _mm256_loadu_ps(joined + (from - j)));
}

// One row of x, columns [begin, end) of its product; the part that holds them begins at `column`, a multiple of 8.
template <class Words>
void stream_columns(const MatMulCodedArgs& a, const WordsScratch& scratch, std::size_t column, std::size_t begin,
                    std::size_t end) {
  const CodedMatrix& w = *a.w;
  const std::size_t groups = (end - column + kLanes - 1) / kLanes;
  // A table of all blocks is worth a deeper part.
  const std::size_t depth = is_gathered(w) ? kDeep * Words::kDepth : Words::kDepth;
  float* sums = scratch.lanes;
  for (std::size_t i = 0; i < groups * kLanes; ++i) _mm256_store_ps(sums + i * kLanes, _mm256_setzero_ps());
  for (std::size_t first = 0; first < w.k; first += depth) {
    const std::size_t count = w.k - first < depth ? w.k - first : depth, next = first + count;
    Part<Words>(w, column, groups * kLanes, first, count).copy(scratch.deep_part);
    const std::size_t ahead_depth = w.k - next < Words::kDepth ? w.k - next : Words::kDepth;
    Ahead<Words> ahead{next < w.k ? Part<Words>(w, column, Words::kColumns, next, ahead_depth)
                                  : Part<Words>(w, column + Words::kColumns, Words::kColumns, 0, Words::kDepth)};
    for (std::size_t g = 0; g < groups; ++g) {
      const unsigned char* words = scratch.deep_part + g * kGroupBytes<Words>;
      each_block<Words>(w, column + g * kLanes, first, count, scratch,
                        [&](const auto& sides, std::size_t p, std::size_t some) {
                          ahead.ask();
                          add_half<Words, 0>(sums + g * kLanes * kLanes, sides, words, a.x + first, p, some);
                          ahead.ask();
                          add_half<Words, 1>(sums + g * kLanes * kLanes, sides, words, a.x + first, p, some);
                        });
    }
  }
  for (std::size_t g = 0; g < groups; ++g) {
    store_group(a, sums + g * kLanes * kLanes, column + g * kLanes, begin, end);
  }
}

// Turns rows into columns: lane l of v[i] becomes lane i of v[l].
inline void transpose(__m256 (&v)[kLanes]) {
  __m256 pair[kLanes], four[kLanes];
  for (std::size_t i = 0; i < kLanes; i += 2) {
    pair[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    pair[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (std::size_t i = 0; i < kLanes; i += 4) {
    for (std::size_t h = 0; h < 2; ++h) {
      four[i + 2 * h] = _mm256_shuffle_ps(pair[i + h], pair[i + 2 + h], 0x44);
      four[i + 2 * h + 1] = _mm256_shuffle_ps(pair[i + h], pair[i + 2 + h], 0xee);
    }
  }
  for (std::size_t i = 0; i < kHalf; ++i) {
    v[i] = _mm256_permute2f128_ps(four[i], four[i + kHalf], 0x20);
    v[i + kHalf] = _mm256_permute2f128_ps(four[i], four[i + kHalf], 0x31);
  }
}

// Widens w[j, p] for j in the kNc columns from `column` on, first <= p < first + depth, into a panel.
template <class Words>
void fill_words_panel(const CodedMatrix& w, const WordsScratch& scratch, std::size_t column, std::size_t first,
                      std::size_t depth) {
  const std::size_t padded = (depth + kLanes - 1) / kLanes * kLanes;
  for (std::size_t begin = 0; begin < depth; begin += Words::kDepth) {
    const std::size_t some = depth - begin < Words::kDepth ? depth - begin : Words::kDepth;
    Part<Words>(w, column, kNc, first + begin, some).copy(scratch.part);
    for (std::size_t g = 0; g < kNc; g += kLanes) {
      const auto store = [&](std::size_t p, __m256(&v)[kLanes]) {
        transpose(v);
        for (std::size_t l = 0; l < kLanes; ++l) {
          const std::size_t j = g + l;
          float* to = scratch.panel + (j / kNr * kNr) * padded + (begin + p) * kNr + j % kNr * kLanes;
          _mm256_store_ps(to, v[l]);
        }
      };
      if (column + g >= w.n) {
        for (std::size_t p = 0; p < some; p += kLanes) {
          __m256 nothing[kLanes] = {};
          store(p, nothing);
        }
        continue;
      }
      const unsigned char* words = scratch.part + g / kLanes * kGroupBytes<Words>;
      each_block<Words>(
          w, column + g, first + begin, some, scratch, [&](const auto& sides, std::size_t p, std::size_t count) {
            for (const std::size_t stop = p + count; p < stop; p += kLanes) {
              const unsigned char* step = words + p / kLanes * kStepBytes<Words>;
              __m256 low[kHalf], high[kHalf], v[kLanes];
              Words::template numbers<0>(step, kRowBytes<Words>, low);
              Words::template numbers<1>(step, kRowBytes<Words>, high);
              for (std::size_t i = 0; i < kLanes; ++i) {
                v[i] = p + i < stop ? sides.widened(p, i, i < kHalf ? low[i] : high[i - kHalf]) : _mm256_setzero_ps();
              }
              store(p, v);
            }
          });
    }
  }
}

template <class Words>
void matmul(const MatMulCodedArgs& a) {
  const WordsScratch scratch(a.scratch);
  const std::size_t width = a.m == 1 ? Words::kColumns : kNc;
  for (std::size_t column = a.n_begin / kLanes * kLanes; column < a.n_end; column += width) {
    const std::size_t begin = column < a.n_begin ? a.n_begin : column;
    const std::size_t end = a.n_end - column < width ? a.n_end : column + width;
    if (a.m == 1) {
      stream_columns<Words>(a, scratch, column, begin, end);
    } else {
      panel_columns(a, a.w->k, scratch.panel, scratch.lanes, column, begin, end, [&](std::size_t p, std::size_t depth) {
        fill_words_panel<Words>(*a.w, scratch, column, p, depth);
      });
    }
  }
}

}  // namespace

void matmul_f32_f32_gptq4(const MatMulCodedArgs& args) { matmul<Gptq4>(args); }
void matmul_f32_f32_gptq8(const MatMulCodedArgs& args) { matmul<Gptq8>(args); }
void matmul_f32_f32_awq4(const MatMulCodedArgs& args) { matmul<Awq4>(args); }

}  // namespace inferno::kernels::avx2

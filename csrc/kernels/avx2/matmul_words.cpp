// Weights of codes in words that hold several rows or columns of w, the words of one k after those of another: eight
// columns of w are widened at once, and eight sums, one for each p modulo 8, stand for the lanes of matmul_tile.h.
#include "kernels/avx2/coded_reading.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/matmul_tile.h"
#include "kernels/matmul_coded.h"

// Sums stay in registers only where what adds to them is inlined.
#define INFERNO_INLINE __attribute__((always_inline))

namespace inferno::kernels::avx2 {
namespace {

// One row of x goes through kKc of k for one group of eight columns after the other, so that the lines that several
// groups share are still in L1.
constexpr std::size_t kStripColumns = 128;
constexpr std::size_t kStripGroups = kStripColumns / kLanes;
constexpr std::size_t kTableFloats = 2 * kLanes * kMaxGatheredBlocks;
static_assert((kPanelFloats + kSumFloats + kTableFloats) * sizeof(float) <= kMatMulCodedScratchBytes);
static_assert(kStripGroups * kLanes * kLanes <= kSumFloats);

// Numbers of eight columns for eight p from a multiple of 8 on: what codes stand for divided by unit(i), which a scale
// takes up exactly. f(i, numbers) for i < count.
struct Gptq4 {
  static constexpr std::size_t kPerWord = 8;  // of k
  static constexpr std::size_t kUnits = 2;
  static __m256 unit(std::size_t i) { return _mm256_set1_ps(i == 0 ? 1 : 0x1p-4f); }
  template <class F>
  [[gnu::always_inline]] static void numbers(const CodedMatrix& w, std::size_t j, std::size_t columns, std::size_t p,
                                             std::size_t, F f) {
    const __m256i even = _mm256_set1_epi32(0x0f), odd = _mm256_set1_epi32(0xf0);
    const __m256i words = load_words(w.codes, p / kPerWord * w.n + j, columns);
    const __m256i bytes[4] = {words, _mm256_srli_epi32(words, 8), _mm256_srli_epi32(words, 16),
                              _mm256_srli_epi32(words, 24)};
    for (std::size_t i = 0; i < kLanes; ++i) {
      f(i, _mm256_cvtepi32_ps(_mm256_and_si256(bytes[i / 2], i % 2 == 0 ? even : odd)));
    }
  }
};

struct Gptq8 {
  static constexpr std::size_t kPerWord = 4;
  static constexpr std::size_t kUnits = 2;
  static __m256 unit(std::size_t i) { return _mm256_set1_ps(i == 0 ? 1 : 0x1p-8f); }
  template <class F>
  [[gnu::always_inline]] static void numbers(const CodedMatrix& w, std::size_t j, std::size_t columns, std::size_t p,
                                             std::size_t count, F f) {
    const __m256i even = _mm256_set1_epi32(0xff), odd = _mm256_set1_epi32(0xff00);
    for (std::size_t i = 0; i < count; i += kPerWord) {
      const __m256i words = load_words(w.codes, (p + i) / kPerWord * w.n + j, columns);
      const __m256i high = _mm256_srli_epi32(words, 16);
      f(i, _mm256_cvtepi32_ps(_mm256_and_si256(words, even)));
      f(i + 1, _mm256_cvtepi32_ps(_mm256_and_si256(words, odd)));
      f(i + 2, _mm256_cvtepi32_ps(_mm256_and_si256(high, even)));
      f(i + 3, _mm256_cvtepi32_ps(_mm256_and_si256(high, odd)));
    }
  }
};

struct Awq4 {
  static constexpr std::size_t kPerWord = 1;
  static constexpr std::size_t kUnits = 1;
  // Columns 2, 3, 6 and 7 lie in the high half of their byte.
  static __m256 unit(std::size_t) { return _mm256_setr_ps(1, 1, 0x1p-4f, 0x1p-4f, 1, 1, 0x1p-4f, 0x1p-4f); }
  template <class F>
  [[gnu::always_inline]] static void numbers(const CodedMatrix& w, std::size_t j, std::size_t, std::size_t p,
                                             std::size_t count, F f) {
    const __m256i place = _mm256_setr_epi32(-256, -254, -256, -254, -255, -253, -255, -253);
    const __m256i half = _mm256_setr_epi32(0x0f, 0x0f, 0xf0, 0xf0, 0x0f, 0x0f, 0xf0, 0xf0);
    const std::size_t stride = w.n / kLanes;
    for (std::size_t i = 0; i < count; ++i) {
      const __m256i byte = _mm256_shuffle_epi8(broadcast_word(w.codes, (p + i) * stride + j / kLanes), place);
      f(i, _mm256_cvtepi32_ps(_mm256_and_si256(byte, half)));
    }
  }
};

// Scales and zeros of one block of k, eight columns. Fused: see fusible().
template <class Words, bool kFused>
struct Sides {
  __m256 scale[Words::kUnits], offset;
  Sides(__m256 s, __m256 zero) : offset(kFused ? fused_offset(s, zero) : zero) {
    for (std::size_t i = 0; i < Words::kUnits; ++i) scale[i] = kFused ? _mm256_mul_ps(s, Words::unit(i)) : s;
  }
  [[gnu::always_inline]] __m256 widened(std::size_t i, __m256 number) const {
    const std::size_t u = i % Words::kUnits;
    if constexpr (kFused) return _mm256_fmadd_ps(number, scale[u], offset);
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_mul_ps(number, Words::unit(u)), offset), scale[u]);
  }
};

// The same for every block, in scratch: columns of w in any order find theirs by its number.
struct Table {
  float* room;
  Table(const CodedMatrix& w, std::size_t j, std::size_t columns, float* room) : room(room) {
    for (std::size_t c = 0; c < w.column_blocks; ++c) {
      const std::size_t at = c * w.scales.column_stride + j;
      _mm256_store_ps(room + c * 2 * kLanes, scales_at(w.scales, at, columns));
      _mm256_store_ps(room + c * 2 * kLanes + kLanes, zeros_at(w, at, j, c, columns));
    }
  }
  [[gnu::always_inline]] __m256 widened(const CodedMatrix& w, std::size_t p, __m256 value) const {
    const std::size_t c = w.block_of != nullptr ? static_cast<std::size_t>(w.block_of[p]) : p / w.block_columns;
    const float* side = room + c * 2 * kLanes;
    return _mm256_mul_ps(_mm256_sub_ps(value, _mm256_load_ps(side + kLanes)), _mm256_load_ps(side));
  }
};

// Hands the widened weights of columns [j, j + columns) at k's places [p, end) to f(p, i, weights), where i counts the
// places p + i of a step of eight in order. p is a multiple of 8.
template <class Words, class F>
[[gnu::always_inline]] inline void each_step(const CodedMatrix& w, std::size_t j, std::size_t columns, std::size_t p,
                                             std::size_t end, float* room, F f) {
  const auto steps = [&](std::size_t stop, auto widened) INFERNO_INLINE {
    const auto step = [&](std::size_t count) INFERNO_INLINE {
      Words::numbers(w, j, columns, p, count,
                     [&](std::size_t i, __m256 number) INFERNO_INLINE { f(p, i, widened(i, number)); });
    };
    for (; p + kLanes <= stop; p += kLanes) step(kLanes);
    if (p < stop) step(stop - p);
    p = stop;
  };
  if (is_gathered(w)) {
    const Table table(w, j, columns, room);
    return steps(end, [&](std::size_t i, __m256 number) INFERNO_INLINE {
      return table.widened(w, p + i, _mm256_mul_ps(number, Words::unit(i % Words::kUnits)));
    });
  }
  while (p < end) {
    const std::size_t c = p / w.block_columns, next = (c + 1) * w.block_columns, stop = next < end ? next : end;
    const std::size_t at = c * w.scales.column_stride + j;
    const __m256 scale = scales_at(w.scales, at, columns), zero = zeros_at(w, at, j, c, columns);
    if (fusible(scale, zero, columns)) {
      const Sides<Words, true> sides(scale, zero);
      steps(stop, [&](std::size_t i, __m256 number) INFERNO_INLINE { return sides.widened(i, number); });
    } else {
      const Sides<Words, false> sides(scale, zero);
      steps(stop, [&](std::size_t i, __m256 number) INFERNO_INLINE { return sides.widened(i, number); });
    }
  }
}

// Columns of w in [j, j + 8).
std::size_t group_columns(const CodedMatrix& w, std::size_t j) { return w.n - j < kLanes ? w.n - j : kLanes; }

// Asks for the lines of one part of w while another is computed: `groups` groups share them, a step of eight each asks
// for the next line.
template <class Words>
struct Ahead {
  static constexpr std::size_t kGroups = kCacheLine / sizeof(std::uint32_t) / (Words::kPerWord == 1 ? 1 : kLanes);
  static constexpr std::size_t kDepth = Words::kPerWord == 1 ? kKc / 2 : kKc;  // of a part, along k
  const char* line;
  std::size_t stride, left;

  static std::size_t row_words(const CodedMatrix& w) { return Words::kPerWord == 1 ? w.n / kLanes : w.n; }
  Ahead(const CodedMatrix& w, std::size_t j, std::size_t p) {
    const std::size_t column = Words::kPerWord == 1 ? j / kLanes : j;
    stride = row_words(w) * sizeof(std::uint32_t);
    line = static_cast<const char*>(w.codes) + p / Words::kPerWord * stride + column * sizeof(std::uint32_t);
    const std::size_t depth = p < w.k ? w.k - p : 0;
    left = (j < w.n ? (depth < kDepth ? depth : kDepth) : 0) / Words::kPerWord;
  }
  [[gnu::always_inline]] void ask() {
    if (left == 0) return;
    --left;
    _mm_prefetch(line, _MM_HINT_T0);
    line += stride;
  }
};

// One row of x, columns [begin, end) of its product; the strip that holds them begins at `first`, a multiple of 8.
template <class Words>
void stream_strip(const MatMulCodedArgs& a, float* lanes, float* room, std::size_t first, std::size_t begin,
                  std::size_t end) {
  using Part = Ahead<Words>;
  const CodedMatrix& w = *a.w;
  const std::size_t groups = (end - first + kLanes - 1) / kLanes;
  // A table of every block of k is made but once for a group.
  const std::size_t depth = is_gathered(w) ? w.k : Part::kDepth;
  Part ahead(w, first, 0);
  for (std::size_t p = 0; p < w.k; p += depth) {
    const std::size_t stop = w.k - p < depth ? w.k : p + depth;
    for (std::size_t g = 0; g < groups; ++g) {
      if (g % Part::kGroups == 0) {
        while (ahead.left > 0) ahead.ask();
        const std::size_t next = g + Part::kGroups;
        ahead = next < groups ? Part(w, first + next * kLanes, p)
                : stop < w.k  ? Part(w, first, stop)
                              : Part(w, first + groups * kLanes, 0);
      }
      float* group_lanes = lanes + g * kLanes * kLanes;
      __m256 sums[kLanes];
      for (std::size_t i = 0; i < kLanes; ++i) {
        sums[i] = p == 0 ? _mm256_setzero_ps() : _mm256_load_ps(group_lanes + i * kLanes);
      }
      const std::size_t j = first + g * kLanes;
      const auto add = [&](std::size_t columns) INFERNO_INLINE {
        each_step<Words>(w, j, columns, p, stop, room, [&](std::size_t at, std::size_t i, __m256 v) INFERNO_INLINE {
          if (i == 0) ahead.ask();
          sums[i] = _mm256_fmadd_ps(_mm256_broadcast_ss(a.x + at + i), v, sums[i]);
        });
      };
      if (group_columns(w, j) == kLanes) {
        add(kLanes);
      } else {
        add(group_columns(w, j));
      }
      for (std::size_t i = 0; i < kLanes; ++i) _mm256_store_ps(group_lanes + i * kLanes, sums[i]);
    }
  }
  for (std::size_t g = 0; g < groups; ++g) {
    __m256 v[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) v[i] = _mm256_load_ps(lanes + g * kLanes * kLanes + i * kLanes);
    // As sum() joins lanes.
    const __m256 even = _mm256_add_ps(_mm256_add_ps(v[0], v[4]), _mm256_add_ps(v[2], v[6]));
    const __m256 odd = _mm256_add_ps(_mm256_add_ps(v[1], v[5]), _mm256_add_ps(v[3], v[7]));
    alignas(32) float sums[2 * kLanes] = {};
    _mm256_store_ps(sums, _mm256_add_ps(even, odd));
    const std::size_t j = first + g * kLanes, from = j < begin ? begin : j, to = end - j < kLanes ? end : j + kLanes;
    if (from < to) store_sums(a.out, a.ldo, a.epilogue, 0, from, to - from, _mm256_loadu_ps(sums + (from - j)));
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
  for (std::size_t i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
  }
}

// Widens w[j, p] for j in the kNc columns from `begin` on, first <= p < first + depth, into a panel.
template <class Words>
void fill_words_panel(const CodedMatrix& w, float* panel, float* room, std::size_t begin, std::size_t first,
                      std::size_t depth) {
  const std::size_t padded = (depth + kLanes - 1) / kLanes * kLanes;
  for (std::size_t g = 0; g < kNc; g += kLanes) {
    __m256 v[kLanes];
    const auto clear = [&] {
      for (__m256& each : v) each = _mm256_setzero_ps();
    };
    const auto store = [&](std::size_t p) {
      transpose(v);
      for (std::size_t l = 0; l < kLanes; ++l) {
        const std::size_t j = g + l;
        _mm256_store_ps(panel + (j / kNr * kNr) * padded + p * kNr + j % kNr * kLanes, v[l]);
      }
    };
    clear();
    const std::size_t j = begin + g;
    if (j >= w.n) {
      for (std::size_t p = 0; p < padded; p += kLanes) store(p);
      continue;
    }
    each_step<Words>(w, j, group_columns(w, j), first, first + depth, room,
                     [&](std::size_t p, std::size_t i, __m256 weights) INFERNO_INLINE {
                       v[i] = weights;
                       if (i + 1 < kLanes) return;
                       store(p - first);
                       clear();
                     });
    if (depth < padded) store(padded - kLanes);
  }
}

template <class Words>
void matmul(const MatMulCodedArgs& a) {
  float* panel = static_cast<float*>(a.scratch);
  float* lanes = panel + kPanelFloats;
  float* room = lanes + kSumFloats;
  const std::size_t width = a.m == 1 ? kStripColumns : kNc;
  for (std::size_t first = a.n_begin / kLanes * kLanes; first < a.n_end; first += width) {
    const std::size_t begin = first < a.n_begin ? a.n_begin : first;
    const std::size_t end = a.n_end - first < width ? a.n_end : first + width;
    if (a.m == 1) {
      stream_strip<Words>(a, lanes, room, first, begin, end);
    } else {
      panel_columns(a, a.w->k, panel, lanes, first, begin, end, [&](std::size_t p, std::size_t depth) {
        fill_words_panel<Words>(*a.w, panel, room, first, p, depth);
      });
    }
  }
}

}  // namespace

void matmul_f32_f32_gptq4(const MatMulCodedArgs& args) { matmul<Gptq4>(args); }
void matmul_f32_f32_gptq8(const MatMulCodedArgs& args) { matmul<Gptq8>(args); }
void matmul_f32_f32_awq4(const MatMulCodedArgs& args) { matmul<Awq4>(args); }

}  // namespace inferno::kernels::avx2

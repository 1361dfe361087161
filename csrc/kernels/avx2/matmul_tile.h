// The pieces of a matrix product that do not depend on how weights are stored: tiles of sums in registers, panels of
// widened weights in scratch. Internal linkage, as lanes.h.
//
// The order of additions, the same on every path below: lane l of one vector takes the products of p = l, l + 8, l +
// 16, ... in turn by fused multiply-add; the eight lanes are then added in sum()'s order.
//
// Two paths:
//   few rows of x:   weights are widened in registers as they stream from memory, which is the limit;
//   many rows of x:  a panel of weights is widened once into scratch and meets every row of x from there.
#pragma once

#include "kernels/avx2/constants.h"
#include "kernels/avx2/epilogue.h"
#include "kernels/avx2/lanes.h"
#include "kernels/matmul.h"

namespace inferno::kernels::avx2 {
namespace {

// 4 rows x 3 columns = 12 accumulators; with 3 for weights and 1 for x, all 16 registers. 12 chains cover the 8 that
// two FMA units of latency 4 need, and 7 loads serve 12 multiply-adds.
constexpr std::size_t kMr = 4, kNr = 3;
// One row of x: the weights are not used again, so many columns at once only keep FMA chains and memory streams busy.
constexpr std::size_t kGemvNr = 12;
// From here on, widening once into a panel costs less than widening again for every kMr rows.
constexpr std::size_t kPanelRows = 12;
// A panel: kNc columns by up to kKc of k, in float32. Four rows of x stay in L1 while the panel streams past from L2.
constexpr std::size_t kNc = kMatMulColumns, kKc = 512;
// Rows of x that share a panel: their lane sums lie in scratch between two steps along k, 32 bytes for each output.
constexpr std::size_t kMc = 512;

static_assert(kNc % kNr == 0 && kNc % kLanes == 0 && kKc % kLanes == 0 && kMatMulAlign == kLanes);
constexpr std::size_t kPanelFloats = kNc * kKc;
constexpr std::size_t kSumFloats = kMc * kNc * kLanes;
static_assert((kPanelFloats + kSumFloats) * sizeof(float) <= kMatMulScratchBytes);
// Columns whose lane sums of one row of x lie there at once.
constexpr std::size_t kStreamed = 4096;
static_assert((kStreamed + kLanes) * kLanes <= kSumFloats);
constexpr std::size_t kPageBytes = 4096;

// How far ahead of its use a streamed row is asked for. Left to itself the hardware loses some of the kGemvNr streams
// at every page's end: one token reads at 0.78 of the best probe's speed, and at 0.95 with this, if what is asked for
// past the end of a row is the row that comes next.
constexpr std::size_t kPrefetchBytes = 512;
constexpr std::size_t kCacheLine = 64;

// kNr widened rows, eight elements of each in turn, zeros past the end of k.
struct Panel {
  static constexpr std::size_t kPerLine = kLanes;
  const float* base;
  void ahead(std::size_t, std::size_t) const {}
  __m256 at(std::size_t j, std::size_t p) const { return _mm256_load_ps(base + p * kNr + j * kLanes); }
  __m256 part(std::size_t j, std::size_t p, std::size_t) const { return at(j, p); }
};

template <std::size_t MR, std::size_t NR>
struct Tile {
  __m256 acc[MR][NR];

  void clear() {
    for (auto& row : acc) {
      for (__m256& a : row) a = _mm256_setzero_ps();
    }
  }

  template <class Weights>
  [[gnu::always_inline]] void step(const Weights& w, const float* x, std::size_t ldx, std::size_t p) {
    if constexpr (MR == 1) {
      const __m256 xv = _mm256_loadu_ps(x + p);
      for (std::size_t j = 0; j < NR; ++j) acc[0][j] = _mm256_fmadd_ps(xv, w.at(j, p), acc[0][j]);
      return;
    }
    __m256 wv[NR];
    for (std::size_t j = 0; j < NR; ++j) wv[j] = w.at(j, p);
    for (std::size_t i = 0; i < MR; ++i) {
      const __m256 xv = _mm256_loadu_ps(x + i * ldx + p);
      for (std::size_t j = 0; j < NR; ++j) acc[i][j] = _mm256_fmadd_ps(xv, wv[j], acc[i][j]);
    }
  }

  template <class Weights>
  [[gnu::always_inline]] void add(const Weights& w, const float* x, std::size_t ldx, std::size_t k) {
    std::size_t p = 0;
    for (; p + Weights::kPerLine <= k; p += Weights::kPerLine) {
      for (std::size_t j = 0; j < NR; ++j) w.ahead(j, p);
      for (std::size_t v = 0; v < Weights::kPerLine; v += kLanes) step(w, x, ldx, p + v);
    }
    for (; p + kLanes <= k; p += kLanes) step(w, x, ldx, p);
    if (p == k) return;
    __m256 wv[NR];
    for (std::size_t j = 0; j < NR; ++j) wv[j] = w.part(j, p, k - p);
    for (std::size_t i = 0; i < MR; ++i) {
      const __m256 xv = load_part(F32{}, x + i * ldx + p, k - p);
      for (std::size_t j = 0; j < NR; ++j) acc[i][j] = _mm256_fmadd_ps(xv, wv[j], acc[i][j]);
    }
  }

  void load_lanes(const float* lanes, std::size_t stride) {
    for (std::size_t i = 0; i < MR; ++i) {
      for (std::size_t j = 0; j < NR; ++j) acc[i][j] = _mm256_load_ps(lanes + i * stride + j * kLanes);
    }
  }

  void store_lanes(float* lanes, std::size_t stride) const {
    for (std::size_t i = 0; i < MR; ++i) {
      for (std::size_t j = 0; j < NR; ++j) _mm256_store_ps(lanes + i * stride + j * kLanes, acc[i][j]);
    }
  }
};

// Adds up the lanes of row i's columns [begin, end), and applies the epilogue. lanes: 8 for each, and as many more as
// make up eight columns.
inline void finish(float* out, std::size_t ldo, const Epilogue& e, const float* lanes, std::size_t i, std::size_t begin,
                   std::size_t end) {
  for (std::size_t j = begin; j < end; j += kLanes, lanes += kLanes * kLanes) {
    __m256 v[kLanes];
    for (std::size_t l = 0; l < kLanes; ++l) v[l] = _mm256_load_ps(lanes + l * kLanes);
    store_sums(out, ldo, e, i, j, end - j < kLanes ? end - j : kLanes, sum8(v));
  }
}

// Adds the products of columns [0, columns) and k in [0, depth) to the lanes of `rows` rows of x; `fresh` lanes are
// set.
inline void add_panel(const float* panel, float* lanes, const float* x, std::size_t ldx, std::size_t rows,
                      std::size_t columns, std::size_t depth, bool fresh) {
  const std::size_t padded = (depth + kLanes - 1) / kLanes * kLanes;
  for (std::size_t i = 0; i < rows; i += kMr) {
    with_constant<kMr>(rows - i < kMr ? rows - i : kMr, [&](auto tokens) {
      float* row_lanes = lanes + i * kNc * kLanes;
      for (std::size_t j = 0; j < columns; j += kNr) {
        Tile<tokens, kNr> tile;
        if (fresh) {
          tile.clear();
        } else {
          tile.load_lanes(row_lanes + j * kLanes, kNc * kLanes);
        }
        tile.add(Panel{panel + j * padded}, x + i * ldx, ldx, depth);
        tile.store_lanes(row_lanes + j * kLanes, kNc * kLanes);
      }
    });
  }
}

// Many rows of x; columns [begin, end) of the kNc from `first` on. fill(p, depth) widens w's columns [p, p + depth) of
// those into the panel.
template <class Args, class Fill>
void panel_columns(const Args& a, std::size_t k, float* panel, float* lanes, std::size_t first, std::size_t begin,
                   std::size_t end, Fill fill) {
  for (std::size_t i = 0; i < a.m; i += kMc) {
    const std::size_t rows = a.m - i < kMc ? a.m - i : kMc;
    for (std::size_t p = 0; p < k; p += kKc) {
      const std::size_t depth = k - p < kKc ? k - p : kKc;
      fill(p, depth);
      add_panel(panel, lanes, a.x + i * a.ldx + p, a.ldx, rows, end - first, depth, p == 0);
    }
    for (std::size_t r = 0; r < rows; ++r) {
      finish(a.out, a.ldo, a.epilogue, lanes + (r * kNc + (begin - first)) * kLanes, i + r, begin, end);
    }
  }
}

}  // namespace
}  // namespace inferno::kernels::avx2

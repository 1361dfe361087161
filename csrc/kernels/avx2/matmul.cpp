#include "kernels/avx2/kernels.h"
#include "kernels/avx2/matmul_tile.h"

namespace inferno::kernels::avx2 {
namespace {

// Rows of one segment of w where they lie.
template <class W>
struct Rows {
  static constexpr std::size_t kPerLine = kCacheLine / sizeof(typename W::Storage);
  const typename W::Storage* base;
  std::size_t stride;   // between rows that are read side by side
  std::size_t k, skip;  // of a row, and from its end to the row that is read next in its place
  // Asks for what is read kPrefetchBytes after p. Past the end of memory that does nothing. GCC takes a function that
  // only prefetches for one without effect and drops the calls that it has not inlined by then: hence the attribute.
  [[gnu::always_inline]] void ahead(std::size_t j, std::size_t p) const {
    const std::size_t there = p + kPrefetchBytes / sizeof *base;
    const std::size_t place = there < k ? there : there + skip;
    _mm_prefetch(reinterpret_cast<const char*>(base + j * stride + place), _MM_HINT_T0);
  }
  __m256 at(std::size_t j, std::size_t p) const { return load(W{}, base + j * stride + p); }
  __m256 part(std::size_t j, std::size_t p, std::size_t count) const {
    return load_part(W{}, base + j * stride + p, count);
  }
};

// Few rows of x, columns [begin, end), at most kNc of them, by tiles of up to MR x NR.
template <class W, std::size_t MR, std::size_t NR>
void stream_columns(const MatMulArgs& a, float* lanes, std::size_t begin, std::size_t end) {
  for (std::size_t j = begin; j < end; j += NR) {
    with_constant<NR>(end - j < NR ? end - j : NR, [&](auto columns) {
      for (std::size_t i = 0; i < a.m; i += MR) {
        with_constant<MR>(a.m - i < MR ? a.m - i : MR, [&](auto tokens) {
          Tile<tokens, columns> tile;
          tile.clear();
          const float* x = a.x + i * a.ldx;
          for (std::size_t s = 0; s < a.segment_count; ++s) {
            const auto [data, k] = a.segments[s];
            tile.add(Rows<W>{elements<W>(data) + j * k, k, k, (NR - 1) * k}, x, a.ldx, k);
            x += k;
          }
          tile.store_lanes(lanes + (i * kNc + (j - begin)) * kLanes, kNc * kLanes);
        });
      }
    });
  }
  for (std::size_t i = 0; i < a.m; ++i) finish(a.out, a.ldo, a.epilogue, lanes + i * kNc * kLanes, i, begin, end);
}

// One row of x, columns [begin, begin + kGemvNr * depth): kGemvNr streams of weights, each of `depth` rows one after
// another. Side by side, rows shorter than a page share pages, and the hardware follows one stream in a page.
template <class W>
void stream_far(const MatMulArgs& a, float* lanes, std::size_t begin, std::size_t depth) {
  for (std::size_t i = 0; i < depth; ++i) {
    Tile<1, kGemvNr> tile;
    tile.clear();
    const float* x = a.x;
    for (std::size_t s = 0; s < a.segment_count; ++s) {
      const auto [data, k] = a.segments[s];
      tile.add(Rows<W>{elements<W>(data) + (begin + i) * k, depth * k, k, 0}, x, a.ldx, k);
      x += k;
    }
    for (std::size_t j = 0; j < kGemvNr; ++j) _mm256_store_ps(lanes + (j * depth + i) * kLanes, tile.acc[0][j]);
  }
  finish(a.out, a.ldo, a.epilogue, lanes, 0, begin, begin + kGemvNr * depth);
}

// One row of x.
template <class W>
void stream_row(const MatMulArgs& a, float* lanes) {
  std::size_t j = a.n_begin;
  if (a.segments[0].k * sizeof(typename W::Storage) < kPageBytes) {
    while (a.n_end - j >= kGemvNr) {
      const std::size_t depth = (a.n_end - j < kStreamed ? a.n_end - j : kStreamed) / kGemvNr;
      stream_far<W>(a, lanes, j, depth);
      j += kGemvNr * depth;
    }
  }
  for (; j < a.n_end; j += kNc) stream_columns<W, 1, kGemvNr>(a, lanes, j, a.n_end - j < kNc ? a.n_end : j + kNc);
}

// Widens w[j, p] for j < columns, p < depth into panels of kNr columns; the rest of a panel is zero.
template <class W>
void fill_panel(float* panel, const Rows<W>& w, std::size_t columns, std::size_t depth) {
  const std::size_t padded = (depth + kLanes - 1) / kLanes * kLanes;
  for (std::size_t j = 0; j < kNc; ++j) {
    float* out = panel + (j / kNr * kNr) * padded + j % kNr * kLanes;
    if (j >= columns) {
      for (std::size_t p = 0; p < padded; p += kLanes) _mm256_store_ps(out + p * kNr, _mm256_setzero_ps());
      continue;
    }
    std::size_t p = 0;
    for (; p + kLanes <= depth; p += kLanes) _mm256_store_ps(out + p * kNr, w.at(j, p));
    if (p < depth) _mm256_store_ps(out + p * kNr, w.part(j, p, depth - p));
  }
}

// Many rows of x, [i_begin, i_end), at most kMc; columns [begin, end), at most kNc.
template <class W>
void panel_columns(const MatMulArgs& a, float* panel, float* lanes, std::size_t i_begin, std::size_t i_end,
                   std::size_t begin, std::size_t end) {
  const float* x = a.x + i_begin * a.ldx;
  bool fresh = true;
  for (std::size_t s = 0; s < a.segment_count; ++s) {
    const auto [data, k] = a.segments[s];
    for (std::size_t p = 0; p < k; p += kKc) {
      const std::size_t depth = k - p < kKc ? k - p : kKc;
      fill_panel(panel, Rows<W>{elements<W>(data) + begin * k + p, k, k, 0}, end - begin, depth);
      add_panel(panel, lanes, x + p, a.ldx, i_end - i_begin, end - begin, depth, fresh);
      fresh = false;
    }
    x += k;
  }
  for (std::size_t i = i_begin; i < i_end; ++i)
    finish(a.out, a.ldo, a.epilogue, lanes + (i - i_begin) * kNc * kLanes, i, begin, end);
}

template <class W>
void matmul(const MatMulArgs& a) {
  float* panel = static_cast<float*>(a.scratch);
  float* lanes = panel + kPanelFloats;
  if (a.m == 1) return stream_row<W>(a, lanes);
  for (std::size_t begin = a.n_begin; begin < a.n_end; begin += kNc) {
    const std::size_t end = a.n_end - begin < kNc ? a.n_end : begin + kNc;
    if (a.m < kPanelRows) {
      stream_columns<W, kMr, kNr>(a, lanes, begin, end);
    } else {
      for (std::size_t i = 0; i < a.m; i += kMc) {
        panel_columns<W>(a, panel, lanes, i, a.m - i < kMc ? a.m : i + kMc, begin, end);
      }
    }
  }
}

}  // namespace

void matmul_f32_f32_f32(const MatMulArgs& args) { matmul<F32>(args); }
void matmul_f32_f32_f16(const MatMulArgs& args) { matmul<F16>(args); }
void matmul_f32_f32_bf16(const MatMulArgs& args) { matmul<BF16>(args); }

}  // namespace inferno::kernels::avx2

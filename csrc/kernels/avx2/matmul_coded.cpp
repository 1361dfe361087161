// Weights of codes whose rows lie one after the other: widened as codes.h has it, they take the paths of matmul_tile.h.
#include "kernels/matmul_coded.h"

#include "kernels/avx2/codes.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/matmul_tile.h"

namespace inferno::kernels::avx2 {
namespace {

// One row of x: four columns keep sums, scales and zeros in registers, and cover the latency of their sums.
constexpr std::size_t kLineNr = 4;
// Blocks of columns whose scales are read at a time.
constexpr std::size_t kTableBlocks = 64;
// One row of x is copied to where the lanes of many would lie.
constexpr std::size_t kMaxArranged = kSumFloats - kNc * kLanes;

constexpr std::size_t kTableFloats = 2 * kLineNr * kMaxGatheredBlocks;
static_assert(kTableBlocks <= kMaxGatheredBlocks && kNr <= kLineNr && kNc % kLineNr == 0);
static_assert((kPanelFloats + kSumFloats + kTableFloats) * sizeof(float) <= kMatMulCodedScratchBytes);

// Where the parts of a call's scratch lie.
struct CodedScratch {
  float *panel, *lanes, *arranged, *table;
  explicit CodedScratch(void* scratch)
      : panel(static_cast<float*>(scratch)),
        lanes(panel + kPanelFloats),
        arranged(lanes + kNc * kLanes),
        table(lanes + kSumFloats) {}
};

// NR rows of w; past the last it is again and again. What comes of those beyond `end` is not used.
template <std::size_t NR>
struct RowNumbers {
  std::size_t row[NR];
  RowNumbers(std::size_t begin, std::size_t end) {
    for (std::size_t i = 0; i < NR; ++i) row[i] = begin + i < end ? begin + i : end - 1;
  }
};

// Scales, and zeros or fused offsets, of NR rows of w.
template <std::size_t NR>
struct Table {
  float *scales, *offsets;
  std::size_t blocks;  // room for each row, a multiple of 8
  bool fused = false;

  Table(float* room, std::size_t blocks) : scales(room), offsets(room + NR * blocks), blocks(blocks) {}
  // Reads blocks [c, c + count), count <= blocks.
  void fill(const CodedMatrix& w, const RowNumbers<NR>& rows, std::size_t c, std::size_t count, bool may_fuse) {
    fused = may_fuse;
    for (std::size_t i = 0; i < NR; ++i) fused = fill_row(w, i, rows.row[i] / w.block_rows, c, count) && fused;
    if (!fused) return;
    for (std::size_t i = 0; i < NR * blocks; i += blocks) {
      for (std::size_t b = i; b < i + count; b += kLanes) {
        const __m256 offset = fused_offset(_mm256_load_ps(scales + b), _mm256_load_ps(offsets + b));
        _mm256_store_ps(offsets + b, offset);
      }
    }
  }
  bool fill_row(const CodedMatrix& w, std::size_t i, std::size_t r, std::size_t c, std::size_t count) {
    bool all = true;
    for (std::size_t b = 0; b < count; b += kLanes) {
      const std::size_t some = count - b < kLanes ? count - b : kLanes, at = r * w.column_blocks + c + b;
      const __m256 scale = scales_at(w.scales, at, some), zero = zeros_at(w, at, r, c + b, some);
      all = fusible(scale, zero, some) && all;
      _mm256_store_ps(scales + i * blocks + b, scale);
      _mm256_store_ps(offsets + i * blocks + b, zero);
    }
    return all;
  }
};

// NR rows of codes within one block of columns.
template <class Codes, bool kFused, bool kLines, std::size_t NR>
struct Block {
  static constexpr std::size_t kPerLine = kLine;
  const Codes& codes;
  const unsigned char* base[NR];  // of the block
  std::size_t first, row_bytes;   // where in its row the block begins
  Column<Codes, kFused, kLines> columns[NR];

  Block(const Codes& codes, const CodedMatrix& w, const RowNumbers<NR>& rows, std::size_t p, const Table<NR>& table,
        std::size_t b)
      : codes(codes), first(p / Codes::kPerByte), row_bytes(w.row_bytes) {
    for (std::size_t i = 0; i < NR; ++i) {
      base[i] = static_cast<const unsigned char*>(w.codes) + rows.row[i] * w.row_bytes + first;
      columns[i].set(table.scales[i * table.blocks + b], table.offsets[i * table.blocks + b]);
    }
  }
  const unsigned char* address(std::size_t j, std::size_t p) const { return base[j] + p / Codes::kPerByte; }
  // As Rows of matmul.cpp. Past the end of the row follows the one that comes NR rows later.
  [[gnu::always_inline]] void ahead(std::size_t j, std::size_t p) const {
    const std::size_t at = p / Codes::kPerByte + kPrefetchBytes,
                      beyond = first + at < row_bytes ? 0 : (NR - 1) * row_bytes;
    _mm_prefetch(reinterpret_cast<const char*>(base[j]) + at + beyond, _MM_HINT_T0);
  }
  // 32 weights; those of split lines in their order.
  [[gnu::always_inline]] void line(std::size_t j, std::size_t p, __m256 (&out)[kLineVectors]) const {
    static_assert(kLines);
    codes.line(address(j, p), out);
    for (__m256& v : out) v = columns[j].widened(v);
  }
  // Eight weights, in the order of lines if those are what the block is for.
  [[gnu::always_inline]] __m256 at(std::size_t j, std::size_t p) const {
    return widened(j, Codes::bytes(address(j, p)));
  }
  __m256 part(std::size_t j, std::size_t p, std::size_t count) const {
    const __m256 mask = _mm256_castsi256_ps(mask_of(count));
    const __m256 v = widened(j, Codes::bytes_part(address(j, p), count));
    return _mm256_and_ps(v, kLines && Codes::kSplit ? split(mask) : mask);
  }
  [[gnu::always_inline]] __m256 widened(std::size_t j, __m128i bytes) const {
    const __m256 numbers = codes.numbers(bytes);
    return columns[j].widened(kLines && Codes::kSplit ? split(numbers) : numbers);
  }
};

// NR rows of codes whose columns belong to any blocks: a scale and a zero for each lane.
template <class Codes, std::size_t NR>
struct Gathered {
  const Codes& codes;
  const CodedMatrix& w;
  const RowNumbers<NR>& rows;
  const Table<NR>& table;
  __m256 part(std::size_t j, std::size_t p, std::size_t count) const {
    const unsigned char* from =
        static_cast<const unsigned char*>(w.codes) + rows.row[j] * w.row_bytes + p / Codes::kPerByte;
    const __m256i block = column_blocks(w, p, count);
    const __m256 scale = _mm256_i32gather_ps(table.scales + j * table.blocks, block, 4);
    const __m256 zero = _mm256_i32gather_ps(table.offsets + j * table.blocks, block, 4);
    const __m128i bytes = count == kLanes ? Codes::bytes(from) : Codes::bytes_part(from, count);
    const __m256 value = _mm256_mul_ps(codes.numbers(bytes), Codes::unit());
    return zeros_after(_mm256_mul_ps(_mm256_sub_ps(value, zero), scale), count);
  }
};

// Calls f(block, p, depth) for the blocks that columns [p, end) of these rows lie in. p is a multiple of 8.
template <bool kLines, std::size_t NR, class Codes, class F>
[[gnu::always_inline]] inline void each_block(const Codes& codes, const CodedMatrix& w, const RowNumbers<NR>& rows,
                                              std::size_t p, std::size_t end, float* room, F f) {
  Table<NR> table(room, kTableBlocks);
  while (p < end) {
    const std::size_t c = p / w.block_columns, all = (end - 1) / w.block_columns - c + 1;
    const std::size_t count = all < kTableBlocks ? all : kTableBlocks;
    table.fill(w, rows, c, count, true);
    for (std::size_t b = 0; b < count; ++b) {
      const std::size_t next = (c + b + 1) * w.block_columns, stop = next < end ? next : end;
      if (table.fused) {
        f(Block<Codes, true, kLines, NR>(codes, w, rows, p, table, b), p, stop - p);
      } else {
        f(Block<Codes, false, kLines, NR>(codes, w, rows, p, table, b), p, stop - p);
      }
      p = stop;
    }
  }
}

// x in the order of lines, zeros up to a multiple of 8.
template <class Codes>
void arrange(float* out, const float* x, std::size_t k) {
  for (std::size_t p = 0; p < k; p += kLanes) {
    const __m256 v = k - p < kLanes ? load_part(F32{}, x + p, k - p) : _mm256_loadu_ps(x + p);
    _mm256_store_ps(out + p, Codes::kSplit ? split(v) : v);
  }
}

// One row of x, columns [begin, end), at most kNc of them.
template <class Codes>
void stream_row(const MatMulCodedArgs& a, const Codes& codes, const CodedScratch& scratch, std::size_t begin,
                std::size_t end) {
  for (std::size_t j = begin; j < end; j += kLineNr) {
    __m256 sums[kLineNr];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    const auto add = [&](const auto& block, std::size_t first, std::size_t depth) {
      const float* x = scratch.arranged + first;
      std::size_t p = 0;
      for (; p + kLine <= depth; p += kLine) {
        for (std::size_t i = 0; i < kLineNr; ++i) block.ahead(i, p);
        for (std::size_t i = 0; i < kLineNr; ++i) {
          __m256 weights[kLineVectors];
          block.line(i, p, weights);
          for (std::size_t v = 0; v < kLineVectors; ++v) {
            sums[i] = _mm256_fmadd_ps(_mm256_load_ps(x + p + v * kLanes), weights[v], sums[i]);
          }
        }
      }
      for (; p + kLanes <= depth; p += kLanes) {
        for (std::size_t i = 0; i < kLineNr; ++i) {
          sums[i] = _mm256_fmadd_ps(_mm256_load_ps(x + p), block.at(i, p), sums[i]);
        }
      }
      if (p == depth) return;
      for (std::size_t i = 0; i < kLineNr; ++i) {
        sums[i] = _mm256_fmadd_ps(_mm256_load_ps(x + p), block.part(i, p, depth - p), sums[i]);
      }
    };
    each_block<true>(codes, *a.w, RowNumbers<kLineNr>(j, end), 0, a.w->k, scratch.table, add);
    for (std::size_t i = 0; i < kLineNr; ++i) {
      _mm256_store_ps(scratch.lanes + (j - begin + i) * kLanes, Codes::kSplit ? joined(sums[i]) : sums[i]);
    }
  }
  finish(a.out, a.ldo, a.epilogue, scratch.lanes, 0, begin, end);
}

// 2 to kMr rows of x, columns [begin, end), at most kNc of them.
template <std::size_t MR, class Codes>
void stream_rows(const MatMulCodedArgs& a, const Codes& codes, const CodedScratch& scratch, std::size_t begin,
                 std::size_t end) {
  for (std::size_t j = begin; j < end; j += kNr) {
    Tile<MR, kNr> tile;
    tile.clear();
    each_block<false>(
        codes, *a.w, RowNumbers<kNr>(j, end), 0, a.w->k, scratch.table,
        [&](const auto& block, std::size_t p, std::size_t depth) { tile.add(block, a.x + p, a.ldx, depth); });
    tile.store_lanes(scratch.lanes + (j - begin) * kLanes, kNc * kLanes);
  }
  for (std::size_t i = 0; i < MR; ++i) {
    finish(a.out, a.ldo, a.epilogue, scratch.lanes + i * kNc * kLanes, i, begin, end);
  }
}

// Widens w[j, p] for begin <= j < end, first <= p < first + depth into a panel.
template <class Codes>
void fill_coded_panel(const CodedMatrix& w, const Codes& codes, const CodedScratch& scratch, std::size_t begin,
                      std::size_t end, std::size_t first, std::size_t depth) {
  const std::size_t padded = (depth + kLanes - 1) / kLanes * kLanes;
  for (std::size_t j = begin; j < end; j += kNr) {
    const RowNumbers<kNr> rows(j, end);
    float* out = scratch.panel + (j - begin) * padded;
    if (is_gathered(w)) {
      Table<kNr> table(scratch.table, (w.column_blocks + kLanes - 1) / kLanes * kLanes);
      table.fill(w, rows, 0, w.column_blocks, false);
      const Gathered<Codes, kNr> weights{codes, w, rows, table};
      for (std::size_t p = 0; p < depth; p += kLanes) {
        for (std::size_t i = 0; i < kNr; ++i) {
          const std::size_t count = depth - p < kLanes ? depth - p : kLanes;
          _mm256_store_ps(out + p * kNr + i * kLanes, weights.part(i, first + p, count));
        }
      }
      continue;
    }
    const auto fill = [&](const auto& block, std::size_t at, std::size_t count) {
      float* to = out + (at - first) * kNr;
      const auto store = [&](std::size_t i, std::size_t p, __m256 v) {
        _mm256_store_ps(to + p * kNr + i * kLanes, Codes::kSplit ? joined(v) : v);
      };
      std::size_t p = 0;
      for (; p + kLine <= count; p += kLine) {
        for (std::size_t i = 0; i < kNr; ++i) {
          __m256 weights[kLineVectors];
          block.line(i, p, weights);
          for (std::size_t v = 0; v < kLineVectors; ++v) store(i, p + v * kLanes, weights[v]);
        }
      }
      for (; p + kLanes <= count; p += kLanes) {
        for (std::size_t i = 0; i < kNr; ++i) store(i, p, block.at(i, p));
      }
      if (p == count) return;
      for (std::size_t i = 0; i < kNr; ++i) store(i, p, block.part(i, p, count - p));
    };
    each_block<true>(codes, w, rows, first, first + depth, scratch.table, fill);
  }
}

template <class Codes>
void matmul(const MatMulCodedArgs& a) {
  const CodedScratch scratch(a.scratch);
  const Codes codes(*a.w);
  const bool panels = a.m > kMr || is_gathered(*a.w) || a.w->k > kMaxArranged;
  if (a.m == 1 && !panels) arrange<Codes>(scratch.arranged, a.x, a.w->k);
  for (std::size_t begin = a.n_begin; begin < a.n_end; begin += kNc) {
    const std::size_t end = a.n_end - begin < kNc ? a.n_end : begin + kNc;
    if (panels) {
      panel_columns(a, a.w->k, scratch.panel, scratch.lanes, begin, begin, end, [&](std::size_t p, std::size_t depth) {
        fill_coded_panel(*a.w, codes, scratch, begin, end, p, depth);
      });
    } else if (a.m == 1) {
      stream_row(a, codes, scratch, begin, end);
    } else if (a.m == 2) {
      stream_rows<2>(a, codes, scratch, begin, end);
    } else if (a.m == 3) {
      stream_rows<3>(a, codes, scratch, begin, end);
    } else if (a.m == kMr) {
      stream_rows<kMr>(a, codes, scratch, begin, end);
    }
  }
}

}  // namespace

void matmul_f32_f32_i8(const MatMulCodedArgs& args) { matmul<I8Codes>(args); }
void matmul_f32_f32_u8(const MatMulCodedArgs& args) { matmul<U8Codes>(args); }
void matmul_f32_f32_u4(const MatMulCodedArgs& args) { matmul<U4Codes>(args); }
void matmul_f32_f32_lut4(const MatMulCodedArgs& args) { matmul<Lut4Codes>(args); }
void matmul_f32_f32_e4m3(const MatMulCodedArgs& args) { matmul<E4M3Codes>(args); }

}  // namespace inferno::kernels::avx2

// Weights of codes whose rows lie one after the other. Widened as below, they take the paths of matmul_tile.h.
#include "kernels/matmul_coded.h"

#include "kernels/avx2/codes.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/matmul_tile.h"

namespace inferno::kernels::avx2 {
namespace {

// One row of x: four columns keep their scales and zeros in registers, and cover the latency of their sums.
constexpr std::size_t kCodedGemvNr = 4;
// Blocks of columns whose scales are read at a time.
constexpr std::size_t kTableBlocks = 64;

constexpr std::size_t kTableFloats = 2 * kCodedGemvNr * kMaxGatheredBlocks;
static_assert(kTableBlocks <= kMaxGatheredBlocks && kNr <= kCodedGemvNr);
static_assert((kPanelFloats + kSumFloats + kTableFloats) * sizeof(float) <= kMatMulCodedScratchBytes);

// Where the parts of a call's scratch lie.
struct CodedScratch {
  float *panel, *lanes, *table;
  explicit CodedScratch(void* scratch)
      : panel(static_cast<float*>(scratch)), lanes(panel + kPanelFloats), table(lanes + kSumFloats) {}
};

// Scales, and zeros or fused offsets, of NR rows of w from row j on.
template <std::size_t NR>
struct Table {
  float *scales, *offsets;
  std::size_t blocks;  // room for each row
  bool fused;

  Table(float* room, std::size_t blocks) : scales(room), offsets(room + NR * blocks), blocks(blocks) {}
  // Reads blocks [c, c + count), count <= blocks, which is a multiple of 8.
  void fill(const CodedMatrix& w, std::size_t j, std::size_t c, std::size_t count, bool may_fuse) {
    fused = may_fuse;
    for (std::size_t i = 0; i < NR; ++i) fused = fill_row(w, i, j + i, c, count) && fused;
    if (!fused) return;
    for (std::size_t i = 0; i < NR * blocks; i += blocks) {
      for (std::size_t b = i; b < i + count; b += kLanes) {
        const __m256 offset = fused_offset(_mm256_load_ps(scales + b), _mm256_load_ps(offsets + b));
        _mm256_store_ps(offsets + b, offset);
      }
    }
  }
  bool fill_row(const CodedMatrix& w, std::size_t i, std::size_t j, std::size_t c, std::size_t count) {
    const std::size_t r = j / w.block_rows;
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
template <class Codes, bool kFused, std::size_t NR>
struct Block {
  static constexpr std::size_t kPerLine = 32;
  const Codes& codes;
  const unsigned char* base;  // of the block
  std::size_t stride;
  Column<Codes, kFused> columns[NR];

  Block(const Codes& codes, const CodedMatrix& w, std::size_t j, std::size_t p, const Table<NR>& table, std::size_t b)
      : codes(codes),
        base(static_cast<const unsigned char*>(w.codes) + j * w.row_bytes + p / Codes::kPerByte),
        stride(w.row_bytes) {
    for (std::size_t i = 0; i < NR; ++i) {
      columns[i].set(codes, table.scales[i * table.blocks + b], table.offsets[i * table.blocks + b]);
    }
  }
  const unsigned char* address(std::size_t j, std::size_t p) const { return base + j * stride + p / Codes::kPerByte; }
  [[gnu::always_inline]] void ahead(std::size_t j, std::size_t p) const {
    _mm_prefetch(reinterpret_cast<const char*>(address(j, p)) + kPrefetchBytes, _MM_HINT_T0);
  }
  [[gnu::always_inline]] __m256 at(std::size_t j, std::size_t p) const {
    return columns[j].at(codes, Codes::bytes(address(j, p)));
  }
  __m256 part(std::size_t j, std::size_t p, std::size_t count) const {
    return zeros_after(columns[j].at(codes, Codes::bytes_part(address(j, p), count)), count);
  }
};

// NR rows of codes whose columns belong to any blocks: a scale and a zero for each lane.
template <class Codes, std::size_t NR>
struct Gathered {
  static constexpr std::size_t kPerLine = kLanes;
  const Codes& codes;
  const CodedMatrix& w;
  std::size_t row, first;  // column 0 is w's column `first`
  const Table<NR>& table;

  void ahead(std::size_t, std::size_t) const {}
  __m256 at(std::size_t j, std::size_t p) const { return widened(j, p, kLanes, Codes::bytes(address(j, p))); }
  __m256 part(std::size_t j, std::size_t p, std::size_t count) const {
    return zeros_after(widened(j, p, count, Codes::bytes_part(address(j, p), count)), count);
  }
  const unsigned char* address(std::size_t j, std::size_t p) const {
    return static_cast<const unsigned char*>(w.codes) + (row + j) * w.row_bytes + (first + p) / Codes::kPerByte;
  }
  __m256 widened(std::size_t j, std::size_t p, std::size_t count, __m128i v) const {
    const __m256i block = column_blocks(w, first + p, count);
    const __m256 scale = _mm256_i32gather_ps(table.scales + j * table.blocks, block, 4);
    const __m256 zero = _mm256_i32gather_ps(table.offsets + j * table.blocks, block, 4);
    const __m256 value = _mm256_mul_ps(codes.numbers(v), Codes::unit());
    return _mm256_mul_ps(_mm256_sub_ps(value, zero), scale);
  }
};

// Calls f(weights, p, depth) for parts of columns [p, end) of NR rows from j on. p is a multiple of 8.
template <std::size_t NR, class Codes, class F>
[[gnu::always_inline]] inline void each_part(const Codes& codes, const CodedMatrix& w, std::size_t j, std::size_t p,
                                             std::size_t end, float* room, F f) {
  if (is_gathered(w)) {
    Table<NR> table(room, (w.column_blocks + kLanes - 1) / kLanes * kLanes);
    table.fill(w, j, 0, w.column_blocks, false);
    return f(Gathered<Codes, NR>{codes, w, j, p, table}, p, end - p);
  }
  Table<NR> table(room, kTableBlocks);
  while (p < end) {
    const std::size_t c = p / w.block_columns, all = (end - 1) / w.block_columns - c + 1;
    const std::size_t count = all < kTableBlocks ? all : kTableBlocks;
    table.fill(w, j, c, count, true);
    for (std::size_t b = 0; b < count; ++b) {
      const std::size_t next = (c + b + 1) * w.block_columns, stop = next < end ? next : end;
      if (table.fused) {
        f(Block<Codes, true, NR>(codes, w, j, p, table, b), p, stop - p);
      } else {
        f(Block<Codes, false, NR>(codes, w, j, p, table, b), p, stop - p);
      }
      p = stop;
    }
  }
}

// Few rows of x, columns [begin, end), at most kNc of them, by tiles of up to MR x NR.
template <class Codes, std::size_t MR, std::size_t NR>
void stream_columns(const MatMulCodedArgs& a, const CodedScratch& scratch, std::size_t begin, std::size_t end) {
  const Codes codes(*a.w);
  for (std::size_t j = begin; j < end; j += NR) {
    with_constant<NR>(end - j < NR ? end - j : NR, [&](auto columns) {
      for (std::size_t i = 0; i < a.m; i += MR) {
        with_constant<MR>(a.m - i < MR ? a.m - i : MR, [&](auto tokens) {
          Tile<tokens, columns> tile;
          tile.clear();
          const float* x = a.x + i * a.ldx;
          each_part<columns>(
              codes, *a.w, j, 0, a.w->k, scratch.table,
              [&](const auto& weights, std::size_t p, std::size_t depth) { tile.add(weights, x + p, a.ldx, depth); });
          tile.store_lanes(scratch.lanes + (i * kNc + (j - begin)) * kLanes, kNc * kLanes);
        });
      }
    });
  }
  for (std::size_t i = 0; i < a.m; ++i) {
    finish(a.out, a.ldo, a.epilogue, scratch.lanes + i * kNc * kLanes, i, begin, end);
  }
}

// Widens w[j, p] for begin <= j < end, first <= p < first + depth into a panel.
template <class Codes>
void fill_coded_panel(const CodedMatrix& w, const CodedScratch& scratch, std::size_t begin, std::size_t end,
                      std::size_t first, std::size_t depth) {
  const Codes codes(w);
  const std::size_t padded = (depth + kLanes - 1) / kLanes * kLanes;
  for (std::size_t j = 0; j < kNc; ++j) {
    float* out = scratch.panel + (j / kNr * kNr) * padded + j % kNr * kLanes;
    if (begin + j >= end) {
      for (std::size_t p = 0; p < padded; p += kLanes) _mm256_store_ps(out + p * kNr, _mm256_setzero_ps());
      continue;
    }
    each_part<1>(codes, w, begin + j, first, first + depth, scratch.table,
                 [&](const auto& weights, std::size_t at, std::size_t count) {
                   float* to = out + (at - first) * kNr;
                   std::size_t p = 0;
                   for (; p + kLanes <= count; p += kLanes) _mm256_store_ps(to + p * kNr, weights.at(0, p));
                   if (p < count) _mm256_store_ps(to + p * kNr, weights.part(0, p, count - p));
                 });
  }
}

template <class Codes>
void matmul(const MatMulCodedArgs& a) {
  const CodedScratch scratch(a.scratch);
  for (std::size_t begin = a.n_begin; begin < a.n_end; begin += kNc) {
    const std::size_t end = a.n_end - begin < kNc ? a.n_end : begin + kNc;
    if (a.m == 1) {
      stream_columns<Codes, 1, kCodedGemvNr>(a, scratch, begin, end);
    } else if (a.m < kPanelRows) {
      stream_columns<Codes, kMr, kNr>(a, scratch, begin, end);
    } else {
      panel_columns(a, a.w->k, scratch.panel, scratch.lanes, begin, begin, end, [&](std::size_t p, std::size_t depth) {
        fill_coded_panel<Codes>(*a.w, scratch, begin, end, p, depth);
      });
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

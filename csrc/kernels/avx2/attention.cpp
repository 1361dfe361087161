// Rows are (token, query head) pairs that share a KV head. A block of keys and values meets every row, widened once
// into scratch if they are many; per row, nothing below depends on which other rows there are.
//
// scores:  lane = position: sum over d in order of q[d] * key[d][position]
// values:  lane = d: sum over positions in order of weight[position] * value[position][d]
#include <algorithm>

#include "kernels/avx2/constants.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

static_assert(kKvBlock == 4 * kLanes);

constexpr std::size_t kMaxRows = 32;  // rows in flight: a walk over the cache serves all of them
constexpr std::size_t kTileRows = 3;  // 3 rows x 4 vectors, of positions or of head_dim, = 12 accumulators
constexpr std::size_t kTileVectors = 4;
constexpr float kMinusInfinity = -__builtin_inff();

// The scratch, drawn: widened keys, widened values, then for each row its values so far, weights and two numbers.
struct Scratch {
  float keys[kMaxHeadDim * kKvBlock];
  float values[kKvBlock * kMaxHeadDim];
  float out[kMaxRows * kMaxHeadDim];  // of a segment
  float all[kMaxRows * kMaxHeadDim];  // of the segments before
  float weights[kMaxRows][kKvBlock];
  float peak[kMaxRows];   // the largest score so far
  float total[kMaxRows];  // sum of exp(score - peak)
  float all_peak[kMaxRows], all_total[kMaxRows];
  float fade[kMaxRows];  // what the block just met makes of what was summed before it
};
static_assert(sizeof(Scratch) <= kAttentionScratchBytes);

// Widens n numbers of a block, and asks for as many of the one that comes next: a head's part of a block is often just
// a page, and the hardware follows no stream into another page.
template <class C>
void widen_block(float* out, const typename C::Storage* in, std::size_t n, const typename C::Storage* next) {
  constexpr std::size_t kLine = 64 / sizeof(typename C::Storage);
  std::size_t i = 0;
  for (; i + kLine <= n; i += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(next + i), _MM_HINT_T0);
    for (std::size_t v = 0; v < kLine; v += kLanes) _mm256_store_ps(out + i + v, load(C{}, in + i + v));
  }
  for (; i + kLanes <= n; i += kLanes) _mm256_store_ps(out + i, load(C{}, in + i));
  if (i < n) _mm256_store_ps(out + i, load_part(C{}, in + i, n - i));
}

// A block's numbers where they lie in the cache; those at the same place of the block that comes next are asked for.
template <class C>
struct Stored {
  const typename C::Storage *at, *next;

  // The vector at element i. A cache line's first vector is asked for first.
  [[gnu::always_inline]] __m256 operator()(std::size_t i, std::size_t v) const {
    if (v * kLanes * sizeof(typename C::Storage) % 64 == 0) {
      _mm_prefetch(reinterpret_cast<const char*>(next + i), _MM_HINT_T0);
    }
    return load(C{}, at + i + v * kLanes);
  }
};

// The same once they have been widened into scratch.
struct Widened {
  const float* at;
  [[gnu::always_inline]] __m256 operator()(std::size_t i, std::size_t v) const {
    return _mm256_load_ps(at + i + v * kLanes);
  }
};

template <std::size_t ROWS, class S>
void scores(float (*weights)[kKvBlock], const float* const* q, const S& keys, std::size_t head_dim, __m256 scale) {
  __m256 acc[ROWS][4];
  for (auto& row : acc) {
    for (__m256& a : row) a = _mm256_setzero_ps();
  }
  for (std::size_t d = 0; d < head_dim; ++d) {
    for (std::size_t v = 0; v < 4; ++v) {
      const __m256 key = keys(d * kKvBlock, v);
      for (std::size_t r = 0; r < ROWS; ++r) {
        acc[r][v] = _mm256_fmadd_ps(_mm256_broadcast_ss(q[r] + d), key, acc[r][v]);
      }
    }
  }
  for (std::size_t r = 0; r < ROWS; ++r) {
    for (std::size_t v = 0; v < 4; ++v) _mm256_store_ps(weights[r] + v * kLanes, _mm256_mul_ps(acc[r][v], scale));
  }
}

// Turns a row's scores of a block into weights exp(score - peak), positions from `count` on into 0; returns by how much
// what was summed before must fade.
float soften(float* weights, float& peak, float& total, std::size_t count) {
  __m256 v[4], highest = _mm256_set1_ps(kMinusInfinity);
  for (std::size_t i = 0; i < 4; ++i) {
    const std::size_t live = count > i * kLanes ? count - i * kLanes : 0;
    const __m256 mask = _mm256_castsi256_ps(mask_of(live < kLanes ? live : kLanes));
    v[i] = _mm256_blendv_ps(_mm256_set1_ps(kMinusInfinity), _mm256_load_ps(weights + i * kLanes), mask);
    highest = _mm256_max_ps(highest, v[i]);
  }
  const float block_peak = max(highest);
  const float new_peak = block_peak > peak ? block_peak : peak;
  const float fade = _mm256_cvtss_f32(exp(_mm256_set1_ps(peak - new_peak)));
  const __m256 shift = _mm256_set1_ps(new_peak);
  for (std::size_t i = 0; i < 4; ++i) {
    v[i] = exp(_mm256_sub_ps(v[i], shift));
    _mm256_store_ps(weights + i * kLanes, v[i]);
  }
  peak = new_peak;
  total = total * fade + sum(_mm256_add_ps(_mm256_add_ps(v[0], v[1]), _mm256_add_ps(v[2], v[3])));
  return fade;
}

// out[r][d] = out[r][d] * fade[r] + sum_p weights[r][p] * values[p][d] for VECTORS vectors of d from `first` on.
template <std::size_t ROWS, std::size_t VECTORS, class S>
void gather(float* out, std::size_t stride, const float (*weights)[kKvBlock], const float* fade, const S& values,
            std::size_t first, std::size_t value_stride, std::size_t count) {
  __m256 acc[ROWS][VECTORS];
  for (std::size_t r = 0; r < ROWS; ++r) {
    for (std::size_t v = 0; v < VECTORS; ++v) {
      acc[r][v] = _mm256_mul_ps(_mm256_load_ps(out + r * stride + first + v * kLanes), _mm256_set1_ps(fade[r]));
    }
  }
  for (std::size_t p = 0; p < count; ++p) {
    for (std::size_t v = 0; v < VECTORS; ++v) {
      const __m256 value = values(p * value_stride + first, v);
      for (std::size_t r = 0; r < ROWS; ++r) {
        acc[r][v] = _mm256_fmadd_ps(_mm256_broadcast_ss(weights[r] + p), value, acc[r][v]);
      }
    }
  }
  for (std::size_t r = 0; r < ROWS; ++r) {
    for (std::size_t v = 0; v < VECTORS; ++v) _mm256_store_ps(out + r * stride + first + v * kLanes, acc[r][v]);
  }
}

// The rows [begin, begin + rows) of a call, rows <= kMaxRows.
template <class C>
class Rows {
 public:
  Rows(const AttentionArgs& args, std::size_t begin, std::size_t rows)
      : a_(args),
        s_(*static_cast<Scratch*>(args.scratch)),
        begin_(begin),
        rows_(rows),
        stride_((args.head_dim + kLanes - 1) / kLanes * kLanes) {
    for (std::size_t r = 0; r < rows_; ++r) {
      q_[r] = a_.q + (begin + r) / a_.group * a_.ldq + (begin + r) % a_.group * a_.head_dim;
    }
  }

  void run() {
    const std::size_t width = partial_floats(a_.head_dim), all_rows = a_.tokens * a_.group;
    const auto partial = [&](std::size_t segment, std::size_t r) {
      return a_.partials + (segment * all_rows + begin_ + r) * width;
    };
    if (a_.part == AttentionPart::kSegment) {
      attend(a_.segment);
      for (std::size_t r = 0; r < rows_; ++r) {
        float* to = partial(a_.segment, r);
        for (std::size_t d = 0; d < stride_; d += kLanes) _mm256_storeu_ps(to + d, _mm256_load_ps(out(r) + d));
        to[stride_] = s_.peak[r];
        to[stride_ + 1] = s_.total[r];
      }
      return;
    }
    for (std::size_t r = 0; r < rows_; ++r) {
      s_.all_peak[r] = kMinusInfinity;
      s_.all_total[r] = 0;
      for (std::size_t d = 0; d < stride_; d += kLanes) _mm256_store_ps(all(r) + d, _mm256_setzero_ps());
    }
    const bool whole = a_.part == AttentionPart::kWhole;
    const std::size_t segments = whole ? (length(rows_ - 1) + kKvSegment - 1) / kKvSegment : a_.segments;
    for (std::size_t segment = 0; segment < segments; ++segment) {
      if (whole) attend(segment);
      for (std::size_t r = 0; r < rows_; ++r) {
        const float* from = whole ? nullptr : partial(segment, r);
        if (whole) {
          fold(r, out(r), s_.peak[r], s_.total[r]);
        } else {
          fold(r, from, from[stride_], from[stride_ + 1]);
        }
      }
    }
    for (std::size_t r = 0; r < rows_; ++r) store(r);
  }

 private:
  float* out(std::size_t r) { return s_.out + r * stride_; }
  float* all(std::size_t r) { return s_.all + r * stride_; }

  // What the rows make of a segment, into s_.out, s_.peak and s_.total.
  void attend(std::size_t segment) {
    for (std::size_t r = 0; r < rows_; ++r) {
      s_.peak[r] = kMinusInfinity;
      s_.total[r] = 0;
      for (std::size_t d = 0; d < stride_; d += kLanes) _mm256_store_ps(out(r) + d, _mm256_setzero_ps());
    }
    const std::size_t end = std::min(length(rows_ - 1), (segment + 1) * kKvSegment);
    for (std::size_t start = segment * kKvSegment; start < end; start += kKvBlock) block(start);
  }

  // Folds a segment into those before; one that a row sees nothing of changes no bit of it.
  void fold(std::size_t r, const float* from, float peak, float total) {
    const float new_peak = peak > s_.all_peak[r] ? peak : s_.all_peak[r];
    const float fade = _mm256_cvtss_f32(exp(_mm256_set1_ps(s_.all_peak[r] - new_peak)));
    const float weight = _mm256_cvtss_f32(exp(_mm256_set1_ps(peak - new_peak)));
    for (std::size_t d = 0; d < stride_; d += kLanes) {
      const __m256 faded = _mm256_mul_ps(_mm256_load_ps(all(r) + d), _mm256_set1_ps(fade));
      _mm256_store_ps(all(r) + d, _mm256_fmadd_ps(_mm256_loadu_ps(from + d), _mm256_set1_ps(weight), faded));
    }
    s_.all_total[r] = s_.all_total[r] * fade + total * weight;
    s_.all_peak[r] = new_peak;
  }

  // Positions that row r sees; it grows with r.
  std::size_t length(std::size_t r) const { return a_.first_position + (begin_ + r) / a_.group + 1; }

  // One block of positions, from `start` on.
  void block(std::size_t start) {
    using Storage = typename C::Storage;
    const std::int32_t* table = a_.block_table + start / kKvBlock;
    const std::size_t base = static_cast<std::size_t>(table[0]) * a_.block_stride;
    const bool last = start + kKvBlock >= length(rows_ - 1);
    const std::size_t next = last ? base : static_cast<std::size_t>(table[1]) * a_.block_stride;
    const auto *keys = static_cast<const Storage*>(a_.keys), *values = static_cast<const Storage*>(a_.values);
    std::size_t first = 0;
    while (length(first) <= start) ++first;
    const std::size_t longest = std::min(kKvBlock, length(rows_ - 1) - start);
    // A vector that is used once need not lie widened in scratch. Whole vectors only: what follows a row is not its
    // own.
    const bool direct = rows_ - first <= kTileRows && stride_ == a_.head_dim;
    if (direct) {
      meet(first, start, longest, Stored<C>{keys + base, keys + next}, Stored<C>{values + base, values + next});
    } else {
      widen_block<C>(s_.keys, keys + base, a_.head_dim * kKvBlock, keys + next);
      widen_values(values + base, longest, values + next);
      meet(first, start, longest, Widened{s_.keys}, Widened{s_.values});
    }
  }

  // The rows from `first` on meet a block, of which the last row sees `longest` positions.
  template <class S>
  void meet(std::size_t first, std::size_t start, std::size_t longest, const S& keys, const S& values) {
    const __m256 scale = _mm256_set1_ps(a_.scale);
    tiles(first, [&](std::size_t r, auto rows) { scores<rows>(s_.weights + r, q_ + r, keys, a_.head_dim, scale); });
    for (std::size_t r = first; r < rows_; ++r) {
      s_.fade[r] = soften(s_.weights[r], s_.peak[r], s_.total[r], std::min(kKvBlock, length(r) - start));
    }
    if (length(first) - start >= longest) {  // all see the same
      tiles(first, [&](std::size_t r, auto rows) { add_values<rows>(r, values, longest); });
    } else {
      for (std::size_t r = first; r < rows_; ++r) add_values<1>(r, values, std::min(kKvBlock, length(r) - start));
    }
  }

  // Calls f(row, count) for the rows from `first` on, kTileRows at a time.
  template <class F>
  void tiles(std::size_t first, F f) {
    for (std::size_t r = first; r < rows_; r += kTileRows) {
      with_constant<kTileRows>(std::min(kTileRows, rows_ - r), [&](auto rows) { f(r, rows); });
    }
  }

  void widen_values(const typename C::Storage* values, std::size_t count, const typename C::Storage* next) {
    if (stride_ == a_.head_dim) return widen_block<C>(s_.values, values, count * a_.head_dim, next);
    for (std::size_t p = 0; p < count; ++p) {
      const std::size_t row = p * a_.head_dim;
      widen_block<C>(s_.values + p * stride_, values + row, a_.head_dim, next + row);
    }
  }

  template <std::size_t ROWS, class S>
  void add_values(std::size_t r, const S& values, std::size_t count) {
    std::size_t d = 0;
    float* out = s_.out + r * stride_;
    for (; d + kTileVectors * kLanes <= stride_; d += kTileVectors * kLanes) {
      gather<ROWS, kTileVectors>(out, stride_, s_.weights + r, s_.fade + r, values, d, stride_, count);
    }
    for (; d < stride_; d += kLanes) {
      gather<ROWS, 1>(out, stride_, s_.weights + r, s_.fade + r, values, d, stride_, count);
    }
  }

  void store(std::size_t r) {
    float* out = a_.out + (begin_ + r) / a_.group * a_.ldo + (begin_ + r) % a_.group * a_.head_dim;
    const __m256 total = _mm256_set1_ps(s_.all_total[r]);
    for (std::size_t d = 0; d < a_.head_dim; d += kLanes) {
      const std::size_t count = a_.head_dim - d < kLanes ? a_.head_dim - d : kLanes;
      store_part(out + d, _mm256_div_ps(_mm256_load_ps(all(r) + d), total), count);
    }
  }

  const AttentionArgs& a_;
  Scratch& s_;
  const std::size_t begin_, rows_;
  const std::size_t stride_;  // head_dim rounded up to whole vectors
  const float* q_[kMaxRows];
};

template <class C>
void attention(const AttentionArgs& a) {
  const std::size_t rows = a.tokens * a.group;
  for (std::size_t begin = 0; begin < rows; begin += kMaxRows) {
    Rows<C>(a, begin, rows - begin < kMaxRows ? rows - begin : kMaxRows).run();
  }
}

}  // namespace

void attention_f32_f32_f32(const AttentionArgs& args) { attention<F32>(args); }
void attention_f32_f32_f16(const AttentionArgs& args) { attention<F16>(args); }
void attention_f32_f32_bf16(const AttentionArgs& args) { attention<BF16>(args); }

}  // namespace inferno::kernels::avx2

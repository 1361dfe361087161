// Rows are (token, query head) pairs that share a KV head. A block of keys and values is widened once into scratch and
// meets every row; per row, nothing below depends on which other rows there are.
//
// scores:  lane = position: sum over d in order of q[d] * key[d][position]
// values:  lane = d: sum over positions in order of weight[position] * value[position][d]
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

static_assert(kKvBlock == 4 * kLanes);

constexpr std::size_t kMaxRows = 32;      // rows in flight: a walk over the cache serves all of them
constexpr std::size_t kScoreRows = 3;     // 3 rows x 4 vectors of positions = 12 accumulators
constexpr std::size_t kValueVectors = 8;  // 64 of head_dim at a time
constexpr float kMinusInfinity = -__builtin_inff();

// The scratch, drawn: widened keys, widened values, then for each row its values so far, weights and two numbers.
struct Scratch {
  float keys[kMaxHeadDim * kKvBlock];
  float values[kKvBlock * kMaxHeadDim];
  float out[kMaxRows * kMaxHeadDim];
  float weights[kMaxRows][kKvBlock];
  float peak[kMaxRows];   // the largest score so far
  float total[kMaxRows];  // sum of exp(score - peak)
};
static_assert(sizeof(Scratch) <= kAttentionScratchBytes);

template <class C>
void widen_block(float* out, const typename C::Storage* in, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) _mm256_store_ps(out + i, load(C{}, in + i));
  if (i < n) _mm256_store_ps(out + i, load_part(C{}, in + i, n - i));
}

template <std::size_t ROWS>
void scores(float (*weights)[kKvBlock], const float* const* q, const float* keys, std::size_t head_dim, __m256 scale) {
  __m256 acc[ROWS][4];
  for (auto& row : acc) {
    for (__m256& a : row) a = _mm256_setzero_ps();
  }
  for (std::size_t d = 0; d < head_dim; ++d) {
    for (std::size_t v = 0; v < 4; ++v) {
      const __m256 key = _mm256_load_ps(keys + d * kKvBlock + v * kLanes);
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

// out[d] = out[d] * fade + sum_p weights[p] * values[p][d] for VECTORS vectors of d.
template <std::size_t VECTORS>
void gather(float* out, const float* weights, const float* values, std::size_t stride, std::size_t count, float fade) {
  __m256 acc[VECTORS];
  for (std::size_t v = 0; v < VECTORS; ++v) {
    acc[v] = _mm256_mul_ps(_mm256_load_ps(out + v * kLanes), _mm256_set1_ps(fade));
  }
  for (std::size_t p = 0; p < count; ++p) {
    const __m256 w = _mm256_broadcast_ss(weights + p);
    for (std::size_t v = 0; v < VECTORS; ++v) {
      acc[v] = _mm256_fmadd_ps(w, _mm256_load_ps(values + p * stride + v * kLanes), acc[v]);
    }
  }
  for (std::size_t v = 0; v < VECTORS; ++v) _mm256_store_ps(out + v * kLanes, acc[v]);
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
      s_.peak[r] = kMinusInfinity;
      s_.total[r] = 0;
      for (std::size_t d = 0; d < stride_; d += kLanes) _mm256_store_ps(s_.out + r * stride_ + d, _mm256_setzero_ps());
    }
  }

  void run() {
    for (std::size_t start = 0; start < length(rows_ - 1); start += kKvBlock) block(start);
    for (std::size_t r = 0; r < rows_; ++r) store(r);
  }

 private:
  // Positions that row r sees; it grows with r.
  std::size_t length(std::size_t r) const { return a_.first_position + (begin_ + r) / a_.group + 1; }

  void block(std::size_t start) {
    using Storage = typename C::Storage;
    const std::size_t base = static_cast<std::size_t>(a_.block_table[start / kKvBlock]) * a_.block_stride;
    widen_block<C>(s_.keys, static_cast<const Storage*>(a_.keys) + base, a_.head_dim * kKvBlock);
    std::size_t first = 0;
    while (length(first) <= start) ++first;
    std::size_t r = first;
    const __m256 scale = _mm256_set1_ps(a_.scale);
    for (; r + kScoreRows <= rows_; r += kScoreRows) {
      scores<kScoreRows>(s_.weights + r, q_ + r, s_.keys, a_.head_dim, scale);
    }
    for (; r < rows_; ++r) scores<1>(s_.weights + r, q_ + r, s_.keys, a_.head_dim, scale);
    const std::size_t longest = length(rows_ - 1) - start;
    widen_values(static_cast<const Storage*>(a_.values) + base, longest < kKvBlock ? longest : kKvBlock);
    for (r = first; r < rows_; ++r) {
      const std::size_t seen = length(r) - start;
      add_values(r, seen < kKvBlock ? seen : kKvBlock);
    }
  }

  void widen_values(const typename C::Storage* values, std::size_t count) {
    if (stride_ == a_.head_dim) return widen_block<C>(s_.values, values, count * a_.head_dim);
    for (std::size_t p = 0; p < count; ++p) {
      widen_block<C>(s_.values + p * stride_, values + p * a_.head_dim, a_.head_dim);
    }
  }

  void add_values(std::size_t r, std::size_t count) {
    const float fade = soften(s_.weights[r], s_.peak[r], s_.total[r], count);
    std::size_t d = 0;
    float* out = s_.out + r * stride_;
    for (; d + kValueVectors * kLanes <= stride_; d += kValueVectors * kLanes) {
      gather<kValueVectors>(out + d, s_.weights[r], s_.values + d, stride_, count, fade);
    }
    for (; d < stride_; d += kLanes) gather<1>(out + d, s_.weights[r], s_.values + d, stride_, count, fade);
  }

  void store(std::size_t r) {
    float* out = a_.out + (begin_ + r) / a_.group * a_.ldo + (begin_ + r) % a_.group * a_.head_dim;
    const __m256 total = _mm256_set1_ps(s_.total[r]);
    for (std::size_t d = 0; d < a_.head_dim; d += kLanes) {
      const std::size_t count = a_.head_dim - d < kLanes ? a_.head_dim - d : kLanes;
      store_part(out + d, _mm256_div_ps(_mm256_load_ps(s_.out + r * stride_ + d), total), count);
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

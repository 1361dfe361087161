#include <cmath>
#include <limits>

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

// One query against the `count` first positions of a block, continuing a softmax that runs online: `peak` is the
// largest score so far, `total` the sum of exp(score - peak), out the values weighted by it.
template <class C>
void attend_block(float* out, float& peak, float& total, const float* q, const void* keys, const void* values,
                  std::size_t base, std::size_t count, std::size_t head_dim, float scale) {
  float weight[kKvBlock];
  float block_peak = peak;
  for (std::size_t p = 0; p < count; ++p) {
    float score = 0;
    for (std::size_t d = 0; d < head_dim; ++d) score += q[d] * get<C>(keys, base + d * kKvBlock + p);
    weight[p] = score * scale;
    if (weight[p] > block_peak) block_peak = weight[p];
  }
  const float fade = std::exp(peak - block_peak);
  peak = block_peak;
  total *= fade;
  for (std::size_t d = 0; d < head_dim; ++d) out[d] *= fade;
  for (std::size_t p = 0; p < count; ++p) {
    const float w = std::exp(weight[p] - peak);
    total += w;
    for (std::size_t d = 0; d < head_dim; ++d) out[d] += w * get<C>(values, base + p * head_dim + d);
  }
}

// A softmax under way: weighted values, the largest score, the sum of weights.
struct State {
  float out[kMaxHeadDim] = {};
  float peak = -std::numeric_limits<float>::infinity(), total = 0;
};

// Folds the next segment into what was before.
void fold(State& state, const float* out, float peak, float total, std::size_t head_dim) {
  const float new_peak = peak > state.peak ? peak : state.peak;
  const float fade = std::exp(state.peak - new_peak), weight = std::exp(peak - new_peak);
  for (std::size_t d = 0; d < head_dim; ++d) state.out[d] = state.out[d] * fade + out[d] * weight;
  state.total = state.total * fade + total * weight;
  state.peak = new_peak;
}

// What query q, which sees `length` positions, makes of a segment.
template <class C>
State attend_segment(const AttentionArgs& a, const float* q, std::size_t segment, std::size_t length) {
  State state;
  const std::size_t end = length < (segment + 1) * kKvSegment ? length : (segment + 1) * kKvSegment;
  for (std::size_t begin = segment * kKvSegment; begin < end; begin += kKvBlock) {
    const std::size_t count = end - begin < kKvBlock ? end - begin : kKvBlock;
    const std::size_t base = static_cast<std::size_t>(a.block_table[begin / kKvBlock]) * a.block_stride;
    attend_block<C>(state.out, state.peak, state.total, q, a.keys, a.values, base, count, a.head_dim, a.scale);
  }
  return state;
}

template <class C>
void attention(const AttentionArgs& a) {
  const std::size_t width = partial_floats(a.head_dim), rows = a.tokens * a.group;
  for (std::size_t r = 0; r < rows; ++r) {
    const std::size_t t = r / a.group, g = r % a.group, length = a.first_position + t + 1;
    const float* q = a.q + t * a.ldq + g * a.head_dim;
    const auto partial = [&](std::size_t s) { return a.partials + (s * rows + r) * width; };
    if (a.part == AttentionPart::kSegment) {
      const State state = attend_segment<C>(a, q, a.segment, length);
      float* to = partial(a.segment);
      for (std::size_t d = 0; d < a.head_dim; ++d) to[d] = state.out[d];
      to[width - 8] = state.peak;
      to[width - 7] = state.total;
      continue;
    }
    State all;
    const bool whole = a.part == AttentionPart::kWhole;
    const std::size_t segments = whole ? (length + kKvSegment - 1) / kKvSegment : a.segments;
    for (std::size_t s = 0; s < segments; ++s) {
      if (whole) {
        const State state = attend_segment<C>(a, q, s, length);
        fold(all, state.out, state.peak, state.total, a.head_dim);
      } else {
        const float* from = partial(s);
        fold(all, from, from[width - 8], from[width - 7], a.head_dim);
      }
    }
    float* out = a.out + t * a.ldo + g * a.head_dim;
    for (std::size_t d = 0; d < a.head_dim; ++d) out[d] = all.out[d] / all.total;
  }
}

}  // namespace

void attention_f32_f32_f32(const AttentionArgs& args) { attention<F32>(args); }
void attention_f32_f32_f16(const AttentionArgs& args) { attention<F16>(args); }
void attention_f32_f32_bf16(const AttentionArgs& args) { attention<BF16>(args); }

}  // namespace inferno::kernels::scalar

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

template <class C>
void attention(const AttentionArgs& a) {
  for (std::size_t t = 0; t < a.tokens; ++t) {
    const std::size_t length = a.first_position + t + 1;
    for (std::size_t g = 0; g < a.group; ++g) {
      const float* q = a.q + t * a.ldq + g * a.head_dim;
      float* out = a.out + t * a.ldo + g * a.head_dim;
      float peak = -std::numeric_limits<float>::infinity(), total = 0;
      for (std::size_t d = 0; d < a.head_dim; ++d) out[d] = 0;
      for (std::size_t begin = 0; begin < length; begin += kKvBlock) {
        const std::size_t count = length - begin < kKvBlock ? length - begin : kKvBlock;
        const std::size_t base = static_cast<std::size_t>(a.block_table[begin / kKvBlock]) * a.block_stride;
        attend_block<C>(out, peak, total, q, a.keys, a.values, base, count, a.head_dim, a.scale);
      }
      for (std::size_t d = 0; d < a.head_dim; ++d) out[d] /= total;
    }
  }
}

}  // namespace

void attention_f32_f32_f32(const AttentionArgs& args) { attention<F32>(args); }
void attention_f32_f32_f16(const AttentionArgs& args) { attention<F16>(args); }
void attention_f32_f32_bf16(const AttentionArgs& args) { attention<BF16>(args); }

}  // namespace inferno::kernels::scalar

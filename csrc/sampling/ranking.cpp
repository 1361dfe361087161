#include "sampling/ranking.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/sampling.h"
#include "sampling/workspace.h"

namespace inferno {

std::uint64_t rank_of(float logit, std::size_t index) {
  logit += 0.0f;  // -0 becomes 0
  std::uint32_t bits;
  std::memcpy(&bits, &logit, sizeof bits);
  // Read as unsigned integers, positive floats ascend and negative ones descend.
  const std::uint32_t descending = bits >> 31 != 0 ? bits : 0x7fffffff - bits;
  return std::uint64_t{descending} << 32 | index;
}

float bound_of_top(SamplingWorkspace& w, std::size_t vocab_size, std::size_t k) {
  const float lowest = std::numeric_limits<float>::lowest();
  const std::size_t groups = logit_groups(vocab_size);
  if (k > groups) return lowest;
  float* begin = w.maxima_copy.get();
  std::copy_n(w.maxima.get(), groups, begin);
  std::nth_element(begin, begin + (k - 1), begin + groups, std::greater<float>());
  return std::max(begin[k - 1], lowest);
}

std::int32_t first_token(const SamplingWorkspace& w, const float* logits, std::size_t vocab_size, float peak) {
  const float* maxima = w.maxima.get();
  const std::size_t group =
      static_cast<std::size_t>(std::find(maxima, maxima + logit_groups(vocab_size), peak) - maxima);
  for (std::size_t i = group * kernels::kLogitGroup; i < vocab_size; ++i) {
    if (logits[i] == peak) return static_cast<std::int32_t>(i);
  }
  return 0;
}

}  // namespace inferno

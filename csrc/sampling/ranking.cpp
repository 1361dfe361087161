#include "sampling/ranking.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "kernels/sampling.h"
#include "sampling/workspace.h"

namespace inferno {

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

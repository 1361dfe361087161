#include "sampling/logprobs.h"

#include <algorithm>
#include <cmath>

#include "kernels/mass.h"
#include "sampling/ranking.h"
#include "sampling/workspace.h"

namespace inferno {
namespace {

// log(sum_i exp(logits[i]))
double log_sum_exp(const KernelTable& kernels, const float* logits, std::size_t n, float peak, SamplingWorkspace& w) {
  kernels.exp_weights(w.weights.get(), w.sums.get(), logits, n, peak, 1);
  std::uint64_t mass = 0;
  for (std::size_t g = 0; g < logit_groups(n); ++g) mass += w.sums[g];
  return peak + std::log(static_cast<double>(mass) / static_cast<double>(kernels::kMassOne));
}

}  // namespace

Logprobs log_probabilities(const KernelTable& kernels, const float* logits, std::size_t n, std::int32_t token,
                           std::size_t top_n) {
  SamplingWorkspace& w = SamplingWorkspace::of_thread(n);
  const float peak = kernels.group_max(w.maxima.get(), logits, n).value;
  const double whole = log_sum_exp(kernels, logits, n, peak, w);
  Logprobs found{};
  found.token = logits[token] - whole;
  if (top_n == 0) return found;
  std::int32_t* ids = w.ids.get();
  const std::size_t count = kernels.collect(ids, logits, n, w.maxima.get(), bound_of_top(w, n, top_n));
  std::uint64_t* ranks = w.ranks.get();
  for (std::size_t i = 0; i < count; ++i) ranks[i] = rank_of(logits[ids[i]], static_cast<std::size_t>(ids[i]));
  found.top_count = std::min(top_n, count);
  std::partial_sort(ranks, ranks + found.top_count, ranks + count);
  for (std::size_t i = 0; i < found.top_count; ++i) {
    const std::size_t id = index_of_rank(ranks[i]);
    found.top[i] = {static_cast<std::int32_t>(id), logits[id] - whole};
  }
  return found;
}

}  // namespace inferno

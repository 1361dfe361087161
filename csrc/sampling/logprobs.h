// Log-probabilities of the model itself: of its logits as they are, before penalties and temperature.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"

namespace inferno {

constexpr std::size_t kMaxTopLogprobs = 20;

struct Logprob {
  std::int32_t id;
  double value;
};

struct Logprobs {
  double token;                  // of the token asked for
  Logprob top[kMaxTopLogprobs];  // the most likely, by rank (ranking.h)
  std::size_t top_count;         // as many as asked for, or as are finite
};

// log_softmax(logits)[token], and the same of the top_n most likely. logits: (n,), none NaN or +infinity, not all
// -infinity. top_n <= kMaxTopLogprobs.
Logprobs log_probabilities(const KernelTable& kernels, const float* logits, std::size_t n, std::int32_t token,
                           std::size_t top_n);

}  // namespace inferno

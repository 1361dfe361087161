// Memory in which a token is chosen. One per thread, so that it does not grow with the number of sequences; it grows to
// the largest vocabulary seen and then allocates no more. Pages are touched only as far as a rule needs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace inferno {

struct SamplingWorkspace {
  // This thread's, with room for `vocab_size` tokens.
  static SamplingWorkspace& of_thread(std::size_t vocab_size);

  std::size_t capacity = 0;  // tokens
  std::unique_ptr<float[]> penalized, x, weights;
  std::unique_ptr<std::int32_t[]> ids;
  std::unique_ptr<std::uint64_t[]> ranks;
  std::unique_ptr<float[]> maxima, maxima_copy;  // one per group of logits
  std::unique_ptr<std::uint64_t[]> sums;         // one per group of logits
};

std::size_t logit_groups(std::size_t vocab_size);

}  // namespace inferno

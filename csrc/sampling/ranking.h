// The order of tokens by logit, and what follows from it. All of it is exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inferno {

struct SamplingWorkspace;

// Ascending in rank: larger logits first, and of equal ones (-0 equals 0) the one with the lower index. No two are
// equal, so that "the first k" is always exactly k.
inline std::uint64_t rank_of(float logit, std::size_t index) {
  logit += 0.0f;  // -0 becomes 0
  std::uint32_t bits;
  std::memcpy(&bits, &logit, sizeof bits);
  // Read as unsigned integers, positive floats ascend and negative ones descend.
  const std::uint32_t descending = bits >> 31 != 0 ? bits : 0x7fffffff - bits;
  return std::uint64_t{descending} << 32 | index;
}
inline std::size_t index_of_rank(std::uint64_t rank) { return rank & 0xffffffff; }

// A logit that at least k of the logits reach, from the group maxima in the workspace: as high as they can tell, and no
// lower than the lowest finite float, so that nothing at -infinity reaches it.
float bound_of_top(SamplingWorkspace& w, std::size_t vocab_size, std::size_t k);

// The token of rank 0, given the maxima of all logits and the largest; 0 if no logit is a number.
std::int32_t first_token(const SamplingWorkspace& w, const float* logits, std::size_t vocab_size, float peak);

}  // namespace inferno

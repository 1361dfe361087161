// How a token is chosen from logits: the order and the scope of vLLM's sampler.
//
//   1. penalties       for tokens seen (penalties.h)
//   2. temperature     0: the token with the largest logit, the lowest id of equals, and nothing below applies
//   3. min-p           leaves tokens at least min_p times as likely as the likeliest:
//                      logit >= largest + temperature * ln(min_p), in float64
//   4. top-k           leaves the k first by logit, of equals the lower ids: exactly k, if that many are left
//   5. top-p           leaves the fewest first tokens, in the same order, whose mass is at least top_p of the mass of
//                      all that were left; at least one
//   6. draw            one 64-bit draw of Philox with key `seed` and counter (position, sample); with M the mass of all
//                      that are left, the first token in ascending order of ids at which the running sum of masses
//                      exceeds floor(draw * M / 2^64)
//
// A mass is exp((logit - largest) / temperature), computed in float32 by the tier, in units of 2^-40 (kernels/mass.h):
// an integer, so that 5 and 6 are exact and depend on no order of additions. Between tiers a weight may differ in its
// last places; 1 to 4 are equal on all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "sampling/penalties.h"
#include "sampling/survivors.h"
#include "sampling/workspace.h"

namespace inferno {

struct SamplingRule {
  double temperature = 1;
  std::size_t top_k = 0;  // 0: off
  double top_p = 1;       // 1: off
  double min_p = 0;       // 0: off
  PenaltyStrengths penalties;
  std::uint64_t seed = 0;
  std::uint64_t sample = 0;
};

class Sampler {
 public:
  Sampler(const KernelTable& kernels, std::size_t vocab_size, const SamplingRule& rule);

  std::size_t vocab_size() const { return vocab_size_; }
  void observe_prompt(std::int32_t id) { penalties_.see_prompt(id); }

  // The token that follows, which counts as output from then on. logits: (vocab_size,).
  // Throws std::invalid_argument if a logit is NaN or +infinity, or none is finite.
  std::int32_t sample(const float* logits, std::uint64_t position);

  // What sample would draw from. Throws as sample does. Valid until this thread samples again.
  Survivors survivors(const float* logits) const;

 private:
  // The penalized logits, the largest of which is *peak.
  const float* checked(const float* logits, SamplingWorkspace& w, float* peak) const;
  Survivors only(std::int32_t id, const float* x, SamplingWorkspace& w) const;
  Survivors all(const float* x, float peak, SamplingWorkspace& w) const;
  Survivors reaching(float threshold, const float* x, float peak, SamplingWorkspace& w) const;
  Survivors filtered(const float* x, float peak, SamplingWorkspace& w) const;
  void keep_top_p(Survivors& s, const float* x, float peak, SamplingWorkspace& w) const;
  float nucleus_bound(std::uint64_t mass, float peak) const;

  const KernelTable& kernels_;
  std::size_t vocab_size_;
  SamplingRule rule_;
  float scale_;  // 1 / temperature
  Penalties penalties_;
};

}  // namespace inferno

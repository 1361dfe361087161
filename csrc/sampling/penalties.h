// Penalties for tokens that were seen, in the scope and order of vLLM's, in float32:
//   repetition: tokens of the prompt and the output: logit > 0 ? logit / r : logit * r
//   frequency:  output alone: logit - f * times seen
//   presence:   output alone: logit - p
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace inferno {

struct PenaltyStrengths {
  float repetition = 1, frequency = 0, presence = 0;

  bool any() const { return repetition != 1 || frequency != 0 || presence != 0; }
};

class Penalties {
 public:
  // Remembers tokens only if a penalty is in force. Memory is taken here, once.
  Penalties(const PenaltyStrengths& strengths, std::size_t vocab_size);

  void see_prompt(std::int32_t id);
  void see_output(std::int32_t id);

  // The penalized logits: in `room`, or the logits themselves if nothing changes them.
  const float* apply(const float* logits, float* room) const;

 private:
  struct Seen {
    std::int32_t id;
    std::uint32_t in_output;  // times
  };
  struct Free {
    void operator()(void* p) const;
  };

  Seen& entry(std::int32_t id);
  float penalized(float logit, std::uint32_t in_output) const;

  PenaltyStrengths strengths_;
  std::size_t vocab_size_;
  std::unique_ptr<std::uint32_t[], Free> place_;  // of each token: 1 + its index in seen_, or 0
  std::unique_ptr<Seen[]> seen_;
  std::size_t seen_count_ = 0;
};

}  // namespace inferno

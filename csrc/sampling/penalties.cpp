#include "sampling/penalties.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace inferno {

void Penalties::Free::operator()(void* p) const { std::free(p); }

Penalties::Penalties(const PenaltyStrengths& strengths, std::size_t vocab_size)
    : strengths_(strengths), vocab_size_(vocab_size) {
  if (!strengths_.any()) return;
  // calloc and new[] without values leave large memory untouched: only tokens that are seen cost pages.
  place_.reset(static_cast<std::uint32_t*>(std::calloc(vocab_size, sizeof(std::uint32_t))));
  if (place_ == nullptr) throw std::bad_alloc();
  seen_.reset(new Seen[vocab_size]);
}

Penalties::Seen& Penalties::entry(std::int32_t id) {
  std::uint32_t& place = place_[static_cast<std::size_t>(id)];
  if (place == 0) {
    seen_[seen_count_] = {id, 0};
    place = static_cast<std::uint32_t>(++seen_count_);
  }
  return seen_[place - 1];
}

void Penalties::see_prompt(std::int32_t id) {
  if (strengths_.any()) entry(id);
}

void Penalties::see_output(std::int32_t id) {
  if (strengths_.any()) ++entry(id).in_output;
}

float Penalties::penalized(float logit, std::uint32_t in_output) const {
  const float r = strengths_.repetition;
  if (r != 1) logit = logit > 0 ? logit / r : logit * r;
  if (in_output == 0) return logit;
  logit -= strengths_.frequency * static_cast<float>(in_output);
  return logit - strengths_.presence;
}

const float* Penalties::apply(const float* logits, float* room) const {
  if (seen_count_ == 0) return logits;
  std::copy_n(logits, vocab_size_, room);
  for (std::size_t i = 0; i < seen_count_; ++i) {
    float& logit = room[seen_[i].id];
    logit = penalized(logit, seen_[i].in_output);
  }
  return room;
}

}  // namespace inferno

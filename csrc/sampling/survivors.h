// The tokens among which one is drawn.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno {

// Views into a workspace, ascending by token id: valid until its next use.
struct Survivors {
  std::int32_t* ids;  // null: every token of the vocabulary
  float* x;           // their logits
  float* weights;     // exp((logit - largest logit) / temperature)
  std::size_t count;

  std::int32_t id(std::size_t i) const { return ids == nullptr ? static_cast<std::int32_t>(i) : ids[i]; }
};

// Their mass. sums: if ids is null, the mass of each group of logits.
std::uint64_t mass_of(const Survivors& s, const std::uint64_t* sums);

// Leaves the first k by rank (ranking.h); ranks: room for s.count. 1 <= k, ids not null.
void keep_first(Survivors& s, std::size_t k, std::uint64_t* ranks);

// Leaves the fewest first tokens by rank whose mass reaches `target`; all if all is less. ids not null.
void keep_mass(Survivors& s, std::uint64_t target, std::uint64_t* ranks);

// The first token, ascending by id, at which the running sum of masses exceeds `point`, which is less than mass_of(s,
// sums).
std::int32_t token_at(const Survivors& s, std::uint64_t point, const std::uint64_t* sums);

}  // namespace inferno

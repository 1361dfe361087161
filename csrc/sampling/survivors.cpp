#include "sampling/survivors.h"

#include <algorithm>
#include <numeric>

#include "kernels/mass.h"
#include "kernels/sampling.h"
#include "sampling/ranking.h"
#include "sampling/workspace.h"

namespace inferno {
namespace {

using kernels::kLogitGroup;
using kernels::mass;

void fill_ranks(const Survivors& s, std::uint64_t* ranks) {
  for (std::size_t i = 0; i < s.count; ++i) ranks[i] = rank_of(s.x[i], i);
}

// Leaves those that rank no later than `last`.
void keep_until(Survivors& s, std::uint64_t last) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < s.count; ++i) {
    if (rank_of(s.x[i], i) > last) continue;
    s.ids[kept] = s.ids[i];
    s.x[kept] = s.x[i];
    s.weights[kept++] = s.weights[i];
  }
  s.count = kept;
}

}  // namespace

std::uint64_t mass_of(const Survivors& s, const std::uint64_t* sums) {
  if (s.ids == nullptr) return std::accumulate(sums, sums + logit_groups(s.count), std::uint64_t{0});
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < s.count; ++i) sum += mass(s.weights[i]);
  return sum;
}

void keep_first(Survivors& s, std::size_t k, std::uint64_t* ranks) {
  if (s.count <= k) return;
  fill_ranks(s, ranks);
  std::nth_element(ranks, ranks + (k - 1), ranks + s.count);
  keep_until(s, ranks[k - 1]);
}

void keep_mass(Survivors& s, std::uint64_t target, std::uint64_t* ranks) {
  fill_ranks(s, ranks);
  // The answer lies in (low, high]: the first `low` have mass `below`, less than the target. Each step sorts a half
  // apart from the other and adds up one of them, so that all steps together cost about two passes.
  std::size_t low = 0, high = s.count;
  std::uint64_t below = 0;
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    std::nth_element(ranks + low, ranks + middle, ranks + high);
    std::uint64_t sum = below;
    for (std::size_t i = low; i < middle; ++i) sum += mass(s.weights[index_of_rank(ranks[i])]);
    if (sum >= target) {
      high = middle;
    } else {
      low = middle;
      below = sum;
    }
  }
  keep_until(s, ranks[low]);
}

std::int32_t token_at(const Survivors& s, std::uint64_t point, const std::uint64_t* sums) {
  std::size_t i = 0;
  if (s.ids == nullptr) {
    for (; point >= sums[i / kLogitGroup]; i += kLogitGroup) point -= sums[i / kLogitGroup];
  }
  for (; point >= mass(s.weights[i]); ++i) point -= mass(s.weights[i]);
  return s.id(i);
}

}  // namespace inferno

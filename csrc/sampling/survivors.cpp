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

// Ranks by their leading bits: a logit's sign, its exponent and two bits of its fraction.
constexpr std::size_t kBuckets = 2048;
std::size_t bucket_of(std::uint64_t rank) { return rank >> 53; }

// The first bucket with which the mass reaches `target`, and the mass of those before it; kBuckets if none does.
std::size_t bucket_reaching(const Survivors& s, std::uint64_t target, std::uint64_t* below) {
  std::uint64_t masses[kBuckets] = {};
  for (std::size_t i = 0; i < s.count; ++i) masses[bucket_of(rank_of(s.x[i], i))] += mass(s.weights[i]);
  *below = 0;
  std::size_t bucket = 0;
  for (; bucket < kBuckets && *below + masses[bucket] < target; ++bucket) *below += masses[bucket];
  return bucket;
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
  for (std::size_t i = 0; i < s.count; ++i) ranks[i] = rank_of(s.x[i], i);
  std::nth_element(ranks, ranks + (k - 1), ranks + s.count);
  keep_until(s, ranks[k - 1]);
}

void keep_mass(Survivors& s, std::uint64_t target, std::uint64_t* ranks) {
  std::uint64_t below;
  const std::size_t bucket = bucket_reaching(s, target, &below);
  if (bucket == kBuckets) return;
  std::size_t low = 0, high = 0;
  for (std::size_t i = 0; i < s.count; ++i) {
    const std::uint64_t rank = rank_of(s.x[i], i);
    if (bucket_of(rank) == bucket) ranks[high++] = rank;
  }
  // The last token to keep is one of ranks[low, high), and those before them have mass `below`, less than the target.
  // Each step sorts a half apart from the other and adds it up, so that all steps together cost about two passes.
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

#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "kernels/mass.h"
#include "sampling/philox.h"
#include "sampling/ranking.h"

namespace inferno {
namespace {

// Tokens among which a language model's top-p mostly lies. It decides speed alone.
constexpr std::size_t kUsualNucleus = 256;

using Limits = std::numeric_limits<float>;

// The least float32 that is not below a value <= FLT_MAX, so that comparing with it is comparing with the value.
float round_up(double value) {
  if (value <= Limits::lowest()) return Limits::lowest();
  const float nearest = static_cast<float>(value);
  return static_cast<double>(nearest) < value ? std::nextafter(nearest, Limits::infinity()) : nearest;
}

[[noreturn]] void refuse(const float* logits, std::size_t n) {
  const std::string where = "Sampler.sample: logits must be finite or -infinity";
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isnan(logits[i])) {
      throw std::invalid_argument(where + "; the model produced NaN for token " + std::to_string(i));
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (logits[i] > Limits::max()) {
      throw std::invalid_argument(where + "; got +infinity for token " + std::to_string(i));
    }
  }
  throw std::invalid_argument(where + ", at least one of them finite; got -infinity for every token");
}

// floor(bits * mass / 2^64)
std::uint64_t scaled(std::uint64_t bits, std::uint64_t mass) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(bits) * mass >> 64);
}

}  // namespace

Sampler::Sampler(const KernelTable& kernels, std::size_t vocab_size, const SamplingRule& rule)
    : kernels_(kernels),
      vocab_size_(vocab_size),
      rule_(rule),
      // Kept normal and finite: 0 * scale stays 0 and -infinity * scale stays -infinity at every temperature.
      scale_(static_cast<float>(std::clamp<double>(1 / rule.temperature, Limits::min(), Limits::max()))),
      penalties_(rule.penalties, vocab_size) {}

std::int32_t Sampler::sample(const float* logits, std::uint64_t position) {
  SamplingWorkspace& w = SamplingWorkspace::of_thread(vocab_size_);
  const Survivors s = survivors(logits);
  const std::uint64_t* sums = w.sums.get();
  const std::uint64_t bits = random_bits(rule_.seed, rule_.sample, position);
  const std::int32_t token = token_at(s, scaled(bits, mass_of(s, sums)), sums);
  penalties_.see_output(token);
  return token;
}

Survivors Sampler::survivors(const float* logits) const {
  SamplingWorkspace& w = SamplingWorkspace::of_thread(vocab_size_);
  float peak;
  const float* x = checked(logits, w, &peak);
  if (rule_.temperature == 0) return only(first_token(w, x, vocab_size_, peak), x, w);
  const bool by_logit = rule_.min_p > 0 || (rule_.top_k > 0 && rule_.top_k < vocab_size_);
  Survivors s = by_logit ? filtered(x, peak, w) : all(x, peak, w);
  if (rule_.top_p < 1) keep_top_p(s, x, peak, w);
  return s;
}

const float* Sampler::checked(const float* logits, SamplingWorkspace& w, float* peak) const {
  const float* x = penalties_.apply(logits, w.penalized.get());
  const kernels::Peak found = kernels_.group_max(w.maxima.get(), x, vocab_size_);
  if (found.nan || !std::isfinite(found.value)) refuse(x, vocab_size_);
  *peak = found.value;
  return x;
}

Survivors Sampler::only(std::int32_t id, const float* x, SamplingWorkspace& w) const {
  w.ids[0] = id;
  w.x[0] = x[id];
  w.weights[0] = 1;
  return {w.ids.get(), w.x.get(), w.weights.get(), 1};
}

Survivors Sampler::all(const float* x, float peak, SamplingWorkspace& w) const {
  kernels_.exp_weights(w.weights.get(), w.sums.get(), x, vocab_size_, peak, scale_);
  return {nullptr, nullptr, w.weights.get(), vocab_size_};
}

Survivors Sampler::reaching(float threshold, const float* x, float peak, SamplingWorkspace& w) const {
  Survivors s{w.ids.get(), w.x.get(), w.weights.get(), 0};
  s.count = kernels_.collect(s.ids, x, vocab_size_, w.maxima.get(), threshold);
  for (std::size_t i = 0; i < s.count; ++i) s.x[i] = x[s.ids[i]];
  kernels_.exp_weights(s.weights, w.sums.get(), s.x, s.count, peak, scale_);
  return s;
}

Survivors Sampler::filtered(const float* x, float peak, SamplingWorkspace& w) const {
  float threshold = round_up(peak + rule_.temperature * std::log(rule_.min_p));
  if (rule_.top_k > 0) threshold = std::max(threshold, bound_of_top(w, vocab_size_, rule_.top_k));
  Survivors s = reaching(threshold, x, peak, w);
  if (rule_.top_k > 0) keep_first(s, rule_.top_k, w.ranks.get());
  return s;
}

void Sampler::keep_top_p(Survivors& s, const float* x, float peak, SamplingWorkspace& w) const {
  const std::uint64_t whole = mass_of(s, w.sums.get());
  const auto target = static_cast<std::uint64_t>(std::ceil(rule_.top_p * static_cast<double>(whole)));
  if (s.ids == nullptr) {
    s = reaching(bound_of_top(w, vocab_size_, kUsualNucleus), x, peak, w);
    if (mass_of(s, nullptr) < target) s = reaching(nucleus_bound(whole, peak), x, peak, w);
  }
  keep_mass(s, target, w.ranks.get());
}

// A logit below which no token can belong to the nucleus: were all tokens below as likely as one at the bound, together
// they would hold less than 1 - top_p of the mass. The bound is halved against rounding in the weights, and half a unit
// a token is set aside for rounding to masses.
float Sampler::nucleus_bound(std::uint64_t mass, float peak) const {
  const double share = (1 - rule_.top_p) * static_cast<double>(mass) / static_cast<double>(vocab_size_) - 0.5;
  if (share <= 0) return Limits::lowest();
  return round_up(peak + rule_.temperature * std::log(share / 2 / static_cast<double>(kernels::kMassOne)));
}

}  // namespace inferno

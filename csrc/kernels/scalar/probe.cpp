#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {

std::uint64_t read_all(const void* data, std::size_t bytes, const ReadPattern& pattern) {
  constexpr std::size_t kStep = 64;  // bytes of each stream in turn: a cache line
  const auto* first = static_cast<const unsigned char*>(data);
  const std::size_t part = bytes / pattern.streams / kStep * kStep;
  std::uint64_t lanes[8] = {};
  for (std::size_t i = 0; i < part; i += kStep) {
    for (std::size_t s = 0; s < pattern.streams; ++s) {
      const unsigned char* p = first + s * part + i;
      if (pattern.prefetch) __builtin_prefetch(p + kReadAhead);  // past the end of memory this does nothing
      for (std::size_t l = 0; l < 8; ++l) lanes[l] ^= load_raw<std::uint64_t>(p + 8 * l);
    }
  }
  for (std::size_t i = pattern.streams * part; i < bytes; i += sizeof lanes[0]) {
    std::uint64_t word = 0;
    std::memcpy(&word, first + i, bytes - i < sizeof word ? bytes - i : sizeof word);
    lanes[0] ^= word;
  }
  std::uint64_t all = 0;
  for (std::uint64_t lane : lanes) all ^= lane;
  return all;
}

std::uint64_t fma_peak(std::uint64_t rounds, float* sink) {
  // 16 chains: enough to hide the latency of a multiply and an add on every core that this tier runs on.
  constexpr std::size_t kChains = 16;
  float chains[kChains] = {};
  for (std::uint64_t r = 0; r < rounds; ++r) {
    for (float& chain : chains) chain = chain * 0.5f + 1.0f;
  }
  float sum = 0;
  for (float chain : chains) sum += chain;
  *sink = sum;
  return rounds * kChains;
}

std::uint64_t madd_peak(std::uint64_t rounds, std::int32_t* sink) {
  constexpr std::size_t kChains = 16;
  std::uint32_t chains[kChains] = {};
  const auto factor = static_cast<std::uint32_t>(rounds) | 1;  // unknown to the compiler, which would shift and add
  for (std::uint64_t r = 0; r < rounds; ++r) {
    for (std::uint32_t& chain : chains) chain = chain * factor + 1;
  }
  std::uint32_t sum = 0;
  for (std::uint32_t chain : chains) sum += chain;
  *sink = static_cast<std::int32_t>(sum);
  return rounds * kChains;
}

}  // namespace inferno::kernels::scalar

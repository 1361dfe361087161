#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {

std::uint64_t read_all(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  std::uint64_t lanes[8] = {};
  std::size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    for (std::size_t l = 0; l < 8; ++l) lanes[l] ^= load_raw<std::uint64_t>(p + i + 8 * l);
  }
  for (; i < bytes; ++i) lanes[0] ^= p[i];
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

}  // namespace inferno::kernels::scalar

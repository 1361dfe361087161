#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {

std::uint64_t read_all(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  __m256i lanes[4] = {};
  std::size_t i = 0;
  for (; i + 128 <= bytes; i += 128) {
    for (std::size_t l = 0; l < 4; ++l) {
      lanes[l] = _mm256_xor_si256(lanes[l], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i + 32 * l)));
    }
  }
  std::uint64_t all = 0;
  for (; i < bytes; ++i) all ^= p[i];
  for (const __m256i& lane : lanes) {
    std::uint64_t words[4];
    std::memcpy(words, &lane, sizeof words);
    for (std::uint64_t word : words) all ^= word;
  }
  return all;
}

std::uint64_t fma_peak(std::uint64_t rounds, float* sink) {
  // 12 chains: two FMA units of latency 4 need 8, of latency 5 need 10.
  constexpr std::size_t kChains = 12;
  __m256 chains[kChains];
  for (std::size_t c = 0; c < kChains; ++c) chains[c] = _mm256_set1_ps(static_cast<float>(c));
  const __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1.0f);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    for (std::size_t c = 0; c < kChains; ++c) chains[c] = _mm256_fmadd_ps(chains[c], half, one);
  }
  __m256 all = chains[0];
  for (std::size_t c = 1; c < kChains; ++c) all = _mm256_add_ps(all, chains[c]);
  *sink = sum(all);
  return rounds * kChains * kLanes;
}

}  // namespace inferno::kernels::avx2

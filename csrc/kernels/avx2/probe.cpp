#include "kernels/avx2/constants.h"
#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"
#include "kernels/avx2/madd.h"

namespace inferno::kernels::avx2 {

namespace {

constexpr std::size_t kStep = 128;  // bytes of each stream in turn: two cache lines

template <std::size_t Streams, bool Prefetch>
std::uint64_t read_streams(const unsigned char* data, std::size_t bytes) {
  const std::size_t part = bytes / Streams / kStep * kStep;
  __m256i lanes[4] = {};
  for (std::size_t i = 0; i < part; i += kStep) {
    for (std::size_t s = 0; s < Streams; ++s) {
      const unsigned char* p = data + s * part + i;
      if constexpr (Prefetch) {
        // Past the end of memory this does nothing.
        _mm_prefetch(reinterpret_cast<const char*>(p) + kReadAhead, _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(p) + kReadAhead + kStep / 2, _MM_HINT_T0);
      }
      for (std::size_t l = 0; l < 4; ++l) {
        lanes[l] = _mm256_xor_si256(lanes[l], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * l)));
      }
    }
  }
  std::uint64_t all = 0;
  for (std::size_t i = Streams * part; i < bytes; i += sizeof all) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i, bytes - i < sizeof word ? bytes - i : sizeof word);
    all ^= word;
  }
  for (const __m256i& lane : lanes) {
    std::uint64_t words[4];
    std::memcpy(words, &lane, sizeof words);
    for (std::uint64_t word : words) all ^= word;
  }
  return all;
}

}  // namespace

std::uint64_t read_all(const void* data, std::size_t bytes, const ReadPattern& pattern) {
  const auto* p = static_cast<const unsigned char*>(data);
  switch (pattern.streams) {
    case 2:
      return pattern.prefetch ? read_streams<2, true>(p, bytes) : read_streams<2, false>(p, bytes);
    case 4:
      return pattern.prefetch ? read_streams<4, true>(p, bytes) : read_streams<4, false>(p, bytes);
    default:
      return pattern.prefetch ? read_streams<1, true>(p, bytes) : read_streams<1, false>(p, bytes);
  }
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

std::uint64_t madd_peak(std::uint64_t rounds, std::int32_t* sink) {
  // As many chains as the tile of matmul_int8 has.
  constexpr std::size_t kChains = 12;
  __m256i chains[kChains];
  const __m256i a = _mm256_set1_epi16(3), b = _mm256_set1_epi16(5);
  for (std::size_t c = 0; c < kChains; ++c) chains[c] = _mm256_set1_epi32(static_cast<int>(c));
  for (std::uint64_t r = 0; r < rounds; ++r) {
    each_constant(std::make_index_sequence<kChains>{},
                  [&](auto c) __attribute__((always_inline)) { madd(chains[c], a, b); });
  }
  __m256i all = chains[0];
  for (std::size_t c = 1; c < kChains; ++c) all = _mm256_add_epi32(all, chains[c]);
  *sink = _mm256_extract_epi32(all, 0);
  return rounds * kChains * 16;
}

}  // namespace inferno::kernels::avx2

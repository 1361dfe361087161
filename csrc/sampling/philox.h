// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a bijection of
// 128-bit counters for each 64-bit key. It has no state, so a draw depends on its key and counter and on nothing
// before.
#pragma once

#include <array>
#include <cstdint>

namespace inferno {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

inline PhiloxCounter philox_4x32_10(PhiloxCounter c, PhiloxKey k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t even = std::uint64_t{0xd2511f53} * c[0], odd = std::uint64_t{0xcd9e8d57} * c[2];
    c = {static_cast<std::uint32_t>(odd >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(odd),
         static_cast<std::uint32_t>(even >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(even)};
    k[0] += 0x9e3779b9;
    k[1] += 0xbb67ae85;
  }
  return c;
}

// The 64 random bits of one draw.
inline std::uint64_t random_bits(std::uint64_t seed, std::uint64_t sample, std::uint64_t position) {
  const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  const auto high = [](std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); };
  const PhiloxCounter r =
      philox_4x32_10({low(position), high(position), low(sample), high(sample)}, {low(seed), high(seed)});
  return std::uint64_t{r[1]} << 32 | r[0];
}

}  // namespace inferno

// Probability mass as an integer: a softmax weight in [0, 1], in units of 2^-40, rounded to nearest with ties to even.
//
// Integers add exactly, so a sum of masses is the same in every order, and a draw below the sum always falls on a
// token. A vocabulary of 2^23 tokens fits 64 bits; a token less than 2^-41 times as likely as the likeliest one has no
// mass. Internal linkage, so that no copy built with a tier's flags can be linked into other code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace inferno::kernels {
namespace {

constexpr std::uint64_t kMassOne = std::uint64_t{1} << 40;
constexpr std::size_t kMaxVocab = std::size_t{1} << 23;

// A float64 in [2^12, 2^13) has a last place of 2^-40: adding 2^12 rounds a weight to it and leaves the mass in the low
// bits.
constexpr double kMassShift = 4096;
constexpr std::uint64_t kMassShiftBits = 0x40b0000000000000;

inline std::uint64_t mass(float weight) {
  const double shifted = static_cast<double>(weight) + kMassShift;
  std::uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  return bits - kMassShiftBits;
}

}  // namespace
}  // namespace inferno::kernels

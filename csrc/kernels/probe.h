// What the machine can do at best, measured with the tier's own instructions. Speed is quoted against these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno::kernels {

// How read_all walks. Which way is fastest depends on the machine: its prefetchers, its caches, who shares them. The
// best of these is what a kernel is measured against.
struct ReadPattern {
  const char* name;
  std::size_t streams;  // equal parts of the data that are read in step: 1, 2 or 4
  bool prefetch;        // asks for what comes kReadAhead bytes later in each stream
};
constexpr ReadPattern kReadPatterns[] = {
    {"1-stream", 1, false},         {"2-streams", 2, false},         {"4-streams", 4, false},
    {"1-stream-prefetch", 1, true}, {"2-streams-prefetch", 2, true}, {"4-streams-prefetch", 4, true},
};
constexpr std::size_t kReadAhead = 512;

// Reads `bytes` bytes from `data` (any alignment) once and returns the exclusive or of their 64-bit words, the last one
// filled up with zeros.
using ReadAll = std::uint64_t(const void* data, std::size_t bytes, const ReadPattern& pattern);

// Runs `rounds` rounds of independent float32 multiply-adds in registers; returns the multiply-adds done. The result of
// the arithmetic goes to *sink so that it cannot be dropped.
using FmaPeak = std::uint64_t(std::uint64_t rounds, float* sink);

// The same for vpmaddwd and vpaddd, or what the tier computes products of int8 codes with: multiply-adds of 16-bit
// integers into 32 bits.
using MaddPeak = std::uint64_t(std::uint64_t rounds, std::int32_t* sink);

}  // namespace inferno::kernels

// What the machine can do at best, measured with the tier's own instructions. Speed is quoted against these.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno::kernels {

// Reads `bytes` bytes from `data` (any alignment) once and returns a value that depends on all of them.
using ReadAll = std::uint64_t(const void* data, std::size_t bytes);

// Runs `rounds` rounds of independent float32 multiply-adds in registers; returns the multiply-adds done. The result of
// the arithmetic goes to *sink so that it cannot be dropped.
using FmaPeak = std::uint64_t(std::uint64_t rounds, float* sink);

}  // namespace inferno::kernels

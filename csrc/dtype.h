// The element types that weights and the KV cache are stored in. Arithmetic is always float32.
#pragma once

#include <cstddef>

namespace inferno {

enum class DType { kF32, kF16, kBF16 };
constexpr std::size_t kDTypes = 3;

constexpr std::size_t size_of(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr std::size_t index_of(DType dtype) { return static_cast<std::size_t>(dtype); }

}  // namespace inferno

// What happens to sums before they are stored, eight columns at a time. Internal linkage, as lanes.h.
#pragma once

#include "kernels/avx2/lanes.h"
#include "kernels/matmul.h"

namespace inferno::kernels::avx2 {
namespace {

inline __m256 load_bias(const Epilogue& e, std::size_t j, std::size_t count) {
  const auto get = [&](auto type) { return load_part(type, elements<decltype(type)>(e.bias) + j, count); };
  switch (e.bias_dtype) {
    case DType::kF32:
      return get(F32{});
    case DType::kF16:
      return get(F16{});
    case DType::kBF16:
      return get(BF16{});
  }
  return _mm256_setzero_ps();
}

// Stores the epilogue of `value`, the sums of row i's columns [j, j + count), count <= 8, to row i of out.
inline void store_sums(float* out, std::size_t ldo, const Epilogue& e, std::size_t i, std::size_t j, std::size_t count,
                       __m256 value) {
  if (e.bias != nullptr) value = _mm256_add_ps(value, load_bias(e, j, count));
  if (e.gate != nullptr) value = silu_mul(load_part(F32{}, e.gate + i * e.ldg + j, count), value);
  if (e.residual != nullptr) value = _mm256_add_ps(value, load_part(F32{}, e.residual + i * e.ldr + j, count));
  store_part(out + i * ldo + j, value, count);
}

}  // namespace
}  // namespace inferno::kernels::avx2

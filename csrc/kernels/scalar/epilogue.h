// How a matrix product ends: lanes are joined, and what happens to a sum before it is stored. Internal linkage, as
// stored.h.
#pragma once

#include "kernels/matmul.h"
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

// The order in which a sum's eight lanes are joined.
inline float sum_lanes(const float (&lanes)[kMatMulAlign]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

inline float bias_at(const Epilogue& e, std::size_t j) {
  switch (e.bias_dtype) {
    case DType::kF32:
      return get<F32>(e.bias, j);
    case DType::kF16:
      return get<F16>(e.bias, j);
    case DType::kBF16:
      return get<BF16>(e.bias, j);
  }
  return 0;
}

inline float finish(const Epilogue& e, float sum, std::size_t i, std::size_t j) {
  if (e.bias != nullptr) sum += bias_at(e, j);
  if (e.gate != nullptr) {
    const float up = sum;
    silu_mul_f32(&sum, &e.gate[i * e.ldg + j], &up, 1);
  }
  if (e.residual != nullptr) sum += e.residual[i * e.ldr + j];
  return sum;
}

}  // namespace
}  // namespace inferno::kernels::scalar

// out[i, j] = epilogue(sum_p x[i, p] * w[j, p])   for 0 <= i < m, n_begin <= j < n_end
//
// x: (m, k), row stride ldx; w: (n, k) row-major as a linear layer stores it, any alignment; out: (m, n), row stride
// ldo. k >= 1. Weights are widened to float32 exactly and accumulated in float32.
//
// Determinism: the order of additions for one output depends on k alone, so one call with m rows gives the bits of m
// calls with one, and [n_begin, n_end) may be cut anywhere.
#pragma once

#include <cstddef>

#include "dtype.h"

namespace inferno::kernels {

// What happens to a sum before it is stored, in this order. A null pointer leaves its step out.
struct Epilogue {
  const void* bias = nullptr;  // + bias[j]; (n,) of bias_dtype
  DType bias_dtype = DType::kF32;
  const float* gate = nullptr;  // * silu(gate[i, j]); row stride ldg; may be out
  std::size_t ldg = 0;
  const float* residual = nullptr;  // + residual[i, j]; row stride ldr; may be out
  std::size_t ldr = 0;
};

struct MatMulArgs {
  float* out;
  std::size_t ldo;
  const float* x;
  std::size_t ldx;
  const void* w;
  std::size_t m, n_begin, n_end, k;
  Epilogue epilogue;
  void* scratch;  // kMatMulScratchBytes, aligned to 64
};

constexpr std::size_t kMatMulScratchBytes = std::size_t{512} << 10;
// Columns that one call should take at least: kernels work on strips of this width.
constexpr std::size_t kMatMulColumns = 24;

using MatMul = void(const MatMulArgs& args);

}  // namespace inferno::kernels

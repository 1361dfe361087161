// out[i, j] = epilogue(sum_p x[i, p] * w[j, p])   for 0 <= i < m, n_begin <= j < n_end
//
// x: (m, k), row stride ldx; w: (n, k) as a linear layer stores it, in one piece or cut along k into segments that lie
// anywhere; out: (m, n), row stride ldo. k >= 1. Weights are widened to float32 exactly and accumulated in float32.
//
// Determinism: the order of additions for one output depends on k alone, so one call with m rows gives the bits of m
// calls with one, and [n_begin, n_end) may be cut anywhere. Nor does it depend on how w is cut: sums are carried from
// one segment into the next.
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

// Columns [begin, begin + k) of w, where begin is the sum of k of the segments before: (n, k) row-major, any alignment.
struct Segment {
  const void* data;
  std::size_t k;  // >= 1; of all segments but the last a multiple of kMatMulAlign
};

// A sum over k runs in this many lanes, and a segment begins with the first.
constexpr std::size_t kMatMulAlign = 8;

struct MatMulArgs {
  float* out;
  std::size_t ldo;
  const float* x;
  std::size_t ldx;
  const Segment* segments;  // of w, in order
  std::size_t segment_count;
  std::size_t m, n_begin, n_end;
  Epilogue epilogue;
  void* scratch;  // kMatMulScratchBytes, aligned to 64
};

constexpr std::size_t kMatMulScratchBytes = std::size_t{512} << 10;
// Columns that one call should take at least: kernels work on strips of this width.
constexpr std::size_t kMatMulColumns = 24;

using MatMul = void(const MatMulArgs& args);

}  // namespace inferno::kernels

// out[i, j] = epilogue(scale[i] * sum_c s(j, c) * float(sum_p x[i, p] * (code[j, p] - zero(j, c))) + outliers)
//
// for 0 <= i < m, n_begin <= j < n_end; c are the blocks of columns of w (coded.h: kI8 or kU8, block_of null), p the
// columns of each, x rows of codes (quantize.h). What is summed over p is exact in int32; sums of blocks are added in
// order by fused multiply-add. A row's outliers are added before the epilogue, each x * (code - zero) * s in float32,
// in order of columns.
//
// For int32 to hold every sum, the largest |x| times the largest |code - zero| times k must be below 2^31.
//
// Determinism: the result for one element depends on its row and its column alone.
#pragma once

#include <cstddef>

#include "kernels/coded.h"
#include "kernels/matmul.h"
#include "kernels/quantize.h"

namespace inferno::kernels {

struct MatMulInt8Args {
  float* out;
  std::size_t ldo;
  const void* x;        // rows of QuantizedRow, aligned to 64
  std::size_t x_bytes;  // between rows of x
  bool outliers;        // whether rows of x have room for them
  const CodedMatrix* w;
  std::size_t m, n_begin, n_end;
  Epilogue epilogue;
  void* scratch;  // kMatMulScratchBytes, aligned to 64
};

// Columns that one call should take at least: kernels work on strips of this width.
constexpr std::size_t kMatMulInt8Columns = 32;

using MatMulInt8 = void(const MatMulInt8Args& args);

}  // namespace inferno::kernels

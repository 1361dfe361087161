// out[i, j] = epilogue(sum_p x[i, p] * w[j, p])   for 0 <= i < m, n_begin <= j < n_end
//
// as matmul.h, but w is a matrix of codes (coded.h): each w[j, p] is the float32 nearest to (value - zero) * scale, and
// takes its place in the same order of additions. So here too bits do not depend on m or on how n is cut.
#pragma once

#include "kernels/coded.h"
#include "kernels/matmul.h"

namespace inferno::kernels {

struct MatMulCodedArgs {
  float* out;
  std::size_t ldo;
  const float* x;
  std::size_t ldx;
  const CodedMatrix* w;
  std::size_t m, n_begin, n_end;
  Epilogue epilogue;
  void* scratch;  // kMatMulCodedScratchBytes, aligned to 64
};

constexpr std::size_t kMatMulCodedScratchBytes = kMatMulScratchBytes + (std::size_t{128} << 10);

// Columns that one call should take at least. Where one word of memory holds codes of several rows of w, narrow strips
// would fetch the same cache lines again and again.
constexpr std::size_t matmul_coded_columns(CodeType type) {
  switch (type) {
    case CodeType::kGptq4:
    case CodeType::kGptq8:
      return 64;
    case CodeType::kAwq4:
      return 128;
    default:
      return kMatMulColumns;
  }
}

using MatMulCoded = void(const MatMulCodedArgs& args);

}  // namespace inferno::kernels

// Weights of int8 and uint8 codes, one at a time.
// Everything here has internal linkage, so that no copy built with a tier's flags can be linked into other code.
#pragma once

#include "kernels/matmul_int8.h"
#include "kernels/scalar/coded_reading.h"

namespace inferno::kernels {
namespace {

inline int code_at(const CodedMatrix& w, std::size_t j, std::size_t p) {
  const std::size_t i = j * w.row_bytes + p;
  return w.type == CodeType::kI8 ? static_cast<const std::int8_t*>(w.codes)[i]
                                 : static_cast<const std::uint8_t*>(w.codes)[i];
}

inline const QuantizedRow& quantized_row(const MatMulInt8Args& a, std::size_t i) {
  return *reinterpret_cast<const QuantizedRow*>(static_cast<const char*>(a.x) + i * a.x_bytes);
}

// What the outliers of row x add to column j.
inline float outlier_sum(const CodedMatrix& w, const QuantizedRow& x, std::size_t j) {
  const Outlier* list = x.outlier_list(w.k);
  const std::size_t r = j / w.block_rows;
  float sum = 0;
  for (std::int32_t o = 0; o < x.outliers; ++o) {
    const std::size_t p = static_cast<std::size_t>(list[o].column), c = p / w.block_columns;
    sum += list[o].value * (static_cast<float>(code_at(w, j, p) - zero_at(w, r, c)) * scale_at(w, r, c));
  }
  return sum;
}

}  // namespace
}  // namespace inferno::kernels

#include <algorithm>
#include <cmath>

#include "kernels/scalar/epilogue.h"
#include "kernels/scalar/int8_codes.h"

namespace inferno::kernels::scalar {
namespace {

void matmul_int8(const MatMulInt8Args& a) {
  const CodedMatrix& w = *a.w;
  for (std::size_t j = a.n_begin; j < a.n_end; ++j) {
    const std::size_t r = j / w.block_rows;
    for (std::size_t i = 0; i < a.m; ++i) {
      const QuantizedRow& x = quantized_row(a, i);
      float sum = 0;
      for (std::size_t c = 0; c < w.column_blocks; ++c) {
        const int zero = zero_at(w, r, c);
        const std::size_t end = std::min((c + 1) * w.block_columns, w.k);
        std::uint32_t products = 0;  // wraps where the caller's bound is not kept
        for (std::size_t p = c * w.block_columns; p < end; ++p) {
          products += static_cast<std::uint32_t>(x.codes()[p] * (code_at(w, j, p) - zero));
        }
        sum = std::fma(static_cast<float>(static_cast<std::int32_t>(products)), scale_at(w, r, c), sum);
      }
      sum *= x.scale;
      if (a.outliers && x.outliers > 0) sum += outlier_sum(w, x, j);
      a.out[i * a.ldo + j] = finish(a.epilogue, sum, i, j);
    }
  }
}

}  // namespace

void matmul_f32_i8_i8(const MatMulInt8Args& args) { matmul_int8(args); }
void matmul_f32_i8_u8(const MatMulInt8Args& args) { matmul_int8(args); }

}  // namespace inferno::kernels::scalar

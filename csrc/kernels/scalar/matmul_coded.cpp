#include "kernels/scalar/coded_reading.h"
#include "kernels/scalar/epilogue.h"
#include "kernels/scalar/kernels.h"

namespace inferno::kernels::scalar {
namespace {

constexpr std::size_t kLanes = kMatMulAlign;
// Rows of x that share one widening of w.
constexpr std::size_t kRows = 64;

float e4m3(unsigned code) {
  const std::uint32_t sign = (code & 0x80u) << 24, rest = code & 0x7fu;
  if (rest == 0x7fu) return bits_to_float(sign | 0x7fc00000u);
  if (rest >= 8u) return bits_to_float(sign | ((rest << 20) + 0x3c000000u));  // exponent bias 7 -> 127
  return bits_to_float(sign | float_to_bits(static_cast<float>(rest) * 0x1p-9f));
}

// What the code of w[j, p] stands for, before zero and scale.
template <CodeType type>
float value_at(const CodedMatrix& w, std::size_t j, std::size_t p) {
  const auto* row = static_cast<const unsigned char*>(w.codes) + j * w.row_bytes;
  switch (type) {
    case CodeType::kI8:
      return static_cast<float>(static_cast<std::int8_t>(row[p]));
    case CodeType::kU8:
      return static_cast<float>(row[p]);
    case CodeType::kU4:
      return static_cast<float>(row[p / 2] >> p % 2 * 4 & 15);
    case CodeType::kLut4:
      return w.levels[row[p / 2] >> (1 - p % 2) * 4 & 15];
    case CodeType::kE4M3:
      return e4m3(row[p]);
    case CodeType::kGptq4:
      return static_cast<float>(packed(w.codes, p / 8 * w.n + j, p % 8 * 4, 4));
    case CodeType::kGptq8:
      return static_cast<float>(packed(w.codes, p / 4 * w.n + j, p % 4 * 8, 8));
    case CodeType::kAwq4:
      return static_cast<float>(packed(w.codes, p * (w.n / 8) + j / 8, awq_nibble(j % 8) * 4, 4));
  }
  return 0;
}

// Reads one row of w in order, and its scales and zeros once for each block.
template <CodeType type>
class Row {
 public:
  Row(const CodedMatrix& w, std::size_t j) : w_(w), j_(j), r_(j / w.block_rows) {}
  float at(std::size_t p) {
    const std::size_t c = column_block(w_, p);
    if (c != block_) {
      block_ = c;
      scale_ = scale_at(w_, r_, c);
      zero_ = static_cast<float>(zero_at(w_, r_, c));
    }
    return (value_at<type>(w_, j_, p) - zero_) * scale_;
  }

 private:
  const CodedMatrix& w_;
  std::size_t j_, r_, block_ = static_cast<std::size_t>(-1);
  float scale_ = 0, zero_ = 0;
};

template <CodeType type>
void matmul(const MatMulCodedArgs& a) {
  const std::size_t k = a.w->k;
  for (std::size_t j = a.n_begin; j < a.n_end; ++j) {
    for (std::size_t first = 0; first < a.m; first += kRows) {
      const std::size_t rows = a.m - first < kRows ? a.m - first : kRows;
      const float* x = a.x + first * a.ldx;
      float lanes[kRows][kLanes] = {};
      Row<type> row(*a.w, j);
      for (std::size_t p = 0; p < k; p += kLanes) {
        const std::size_t count = k - p < kLanes ? k - p : kLanes;
        float w[kLanes];
        for (std::size_t l = 0; l < count; ++l) w[l] = row.at(p + l);
        for (std::size_t i = 0; i < rows; ++i) {
          for (std::size_t l = 0; l < count; ++l) lanes[i][l] += x[i * a.ldx + p + l] * w[l];
        }
      }
      for (std::size_t i = 0; i < rows; ++i) {
        a.out[(first + i) * a.ldo + j] = finish(a.epilogue, sum_lanes(lanes[i]), first + i, j);
      }
    }
  }
}

}  // namespace

void matmul_f32_f32_i8(const MatMulCodedArgs& args) { matmul<CodeType::kI8>(args); }
void matmul_f32_f32_u8(const MatMulCodedArgs& args) { matmul<CodeType::kU8>(args); }
void matmul_f32_f32_u4(const MatMulCodedArgs& args) { matmul<CodeType::kU4>(args); }
void matmul_f32_f32_lut4(const MatMulCodedArgs& args) { matmul<CodeType::kLut4>(args); }
void matmul_f32_f32_e4m3(const MatMulCodedArgs& args) { matmul<CodeType::kE4M3>(args); }
void matmul_f32_f32_gptq4(const MatMulCodedArgs& args) { matmul<CodeType::kGptq4>(args); }
void matmul_f32_f32_gptq8(const MatMulCodedArgs& args) { matmul<CodeType::kGptq8>(args); }
void matmul_f32_f32_awq4(const MatMulCodedArgs& args) { matmul<CodeType::kAwq4>(args); }

}  // namespace inferno::kernels::scalar

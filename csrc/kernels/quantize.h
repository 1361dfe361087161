// Activations as int8 codes, a scale for each row:   x[i, p] ~ scale[i] * code[i, p]
//
// A row is QuantizedRow, then k codes in 16 bits each, one zero or more up to a multiple of 64 bytes. The zero point is
// taken off already, so that codes lie in [-255, 255] and no product needs a correction. With a threshold follow the
// row's outliers: x where |x| >= threshold. Their codes are 0, they do not count for the scale, and a product adds them
// in float32. Which columns they are is decided for each row alone, so that no row depends on its batch.
//
// Under a dynamic rule, a row of zeros, or of numbers so small that the rule's divisions overflow, has scale 0; a
// static rule's scale stays what it is. Under any rule, a row that holds a NaN or an infinity, or whose range
// overflows, has scale NaN. All of these have codes 0. An infinity past a threshold is an outlier.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno {

// "As served" is vLLM's arithmetic. Its CUDA and CPU kernels part in the last bit: here is CUDA's, which multiplies by
// 127 / absmax and adds a zero point after rounding. (CPU: by 1 / scale, and before. A static scale without a zero
// point CUDA divides by; here as on the CPU its reciprocal is multiplied by.) Only codes next to a tie can differ.
enum class QuantizeRule {
  // Dynamic, symmetric: scale = absmax / 127; code = round(x * (127 / absmax)), ties to even, in [-127, 127].
  kAbsmax127,
  // Dynamic, symmetric: scale = absmax / 127.5; code = round(clamp(x / scale, -128, 127)), ties to even.
  kAbsmax127_5,
  // Dynamic, with a zero point. low and high are the row's least and greatest value, or 0 where that lies beyond them:
  // a zero point outside int8 would be no code. scale = (high - low) / 255; zero = round(-128 - low / scale);
  // q = clamp(round(x * (1 / scale)) + zero, -128, 127)
  kRangeAsServed,
  // scale and zero likewise; q = round(clamp(x / scale + zero, -128, 127))
  kRange,
  // scale and zero as stored; q = clamp(round(x * (1 / scale)) + zero, -128, 127)
  kStaticAsServed,
  // scale and zero as stored; q = round(clamp(x / scale + zero, -128, 127))
  kStatic,
};

struct Quantization {
  QuantizeRule rule;
  float scale;  // of the static rules
  int zero;
  float threshold;  // 0: no outliers
};

struct Outlier {
  std::int32_t column;
  float value;
};

// Bytes of the codes of a row, and of a whole row; both multiples of 64.
// The zero is there because products read codes in pairs, and the last block of columns may have an odd width.
constexpr std::size_t quantized_codes_bytes(std::size_t k) { return ((k + 1) * sizeof(std::int16_t) + 63) / 64 * 64; }

struct alignas(64) QuantizedRow {
  float scale;
  std::int32_t outliers;

  const std::int16_t* codes() const { return reinterpret_cast<const std::int16_t*>(this + 1); }
  std::int16_t* codes() { return reinterpret_cast<std::int16_t*>(this + 1); }
  // Only of rows with room for them.
  const Outlier* outlier_list(std::size_t k) const {
    return reinterpret_cast<const Outlier*>(reinterpret_cast<const char*>(codes()) + quantized_codes_bytes(k));
  }
  Outlier* outlier_list(std::size_t k) {
    return reinterpret_cast<Outlier*>(reinterpret_cast<char*>(codes()) + quantized_codes_bytes(k));
  }
};

constexpr std::size_t quantized_row_bytes(std::size_t k, bool outliers) {
  const std::size_t extra = outliers ? (k * sizeof(Outlier) + 63) / 64 * 64 : 0;
  return sizeof(QuantizedRow) + quantized_codes_bytes(k) + extra;
}

namespace kernels {

// Rows of x, (rows, k) row-major without padding, to rows of quantized_row_bytes(k, how.threshold > 0), aligned to 64.
using Quantize = void(void* out, const float* x, std::size_t rows, std::size_t k, const Quantization& how);

// The same for the rows that RmsNorm (kernels/rmsnorm.h) would make of x, which are not written: equal bits.
using RmsNormQuantize = void(void* out, const float* x, const void* weight, std::size_t rows, std::size_t k, float eps,
                             const Quantization& how);

}  // namespace kernels
}  // namespace inferno

// Activations as int8 codes, a scale for each row:   x[i, p] ~ scale[i] * code[i, p]
//
// A row is QuantizedRow, then k codes in 16 bits each, zeros up to a multiple of 64 bytes. The zero point is taken off
// already, so that codes lie in [-255, 255] and no product needs a correction. With a threshold follow the row's
// outliers: x where |x| >= threshold. Their codes are 0, they do not count for the scale, and a product adds them in
// float32. Which columns they are is decided for each row alone, so that no row depends on its batch.
//
// A row of zeros has scale 0. A row that holds an infinity or a NaN has scale NaN and codes 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno {

enum class QuantizeRule {
  // Dynamic, symmetric: scale = absmax / 127; code = round(x * (127 / absmax)), ties to even, in [-127, 127].
  kAbsmax127,
  // Dynamic, symmetric: scale = absmax / 127.5; code = round(clamp(x / scale, -128, 127)), ties to even.
  kAbsmax127_5,
  // Dynamic, with a zero point. low and high are the row's least and greatest value (kRange extends them to hold 0).
  // scale = (high - low) / 255; zero = round(-128 - low / scale); q = clamp(round(x * (1 / scale)) + zero, -128, 127)
  kRangeAsServed,
  // scale likewise; zero = clamp(round(-128 - low / scale), -128, 127); q = round(clamp(x / scale + zero, -128, 127))
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

struct alignas(64) QuantizedRow {
  float scale;
  std::int32_t outliers;

  const std::int16_t* codes() const { return reinterpret_cast<const std::int16_t*>(this + 1); }
  std::int16_t* codes() { return reinterpret_cast<std::int16_t*>(this + 1); }
};

struct Outlier {
  std::int32_t column;
  float value;
};

// Bytes of the codes of a row, and of a whole row; both multiples of 64.
constexpr std::size_t quantized_codes_bytes(std::size_t k) { return (k * sizeof(std::int16_t) + 63) / 64 * 64; }
constexpr std::size_t quantized_row_bytes(std::size_t k, bool outliers) {
  const std::size_t extra = outliers ? (k * sizeof(Outlier) + 63) / 64 * 64 : 0;
  return sizeof(QuantizedRow) + quantized_codes_bytes(k) + extra;
}

}  // namespace inferno

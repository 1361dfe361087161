// Scales and zeros of a matrix of codes, one at a time.
// Everything here has internal linkage, so that no copy built with a tier's flags can be linked into other code.
#pragma once

#include "kernels/coded.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels {
namespace {

// The block of columns that column p belongs to.
inline std::size_t column_block(const CodedMatrix& w, std::size_t p) {
  return w.block_of != nullptr ? static_cast<std::size_t>(w.block_of[p]) : p / w.block_columns;
}

// The scale of block of rows r, block of columns c.
inline float scale_at(const CodedMatrix& w, std::size_t r, std::size_t c) {
  const Scales& s = w.scales;
  const std::size_t i = r * s.row_stride + c * s.column_stride;
  switch (s.type) {
    case ScaleType::kF32:
      return get<F32>(s.data, i) * s.factor;
    case ScaleType::kF16:
      return get<F16>(s.data, i) * s.factor;
    case ScaleType::kBF16:
      return get<BF16>(s.data, i) * s.factor;
    case ScaleType::kNested: {
      const float level = s.nested_levels[static_cast<const unsigned char*>(s.data)[i]];
      return (level * get<F32>(s.nested_scales, i / s.nested_block) + s.nested_offset) * s.factor;
    }
  }
  return 0;
}

// Bits [shift, shift + bits) of 32-bit word i.
inline int packed(const void* words, std::size_t i, std::size_t shift, unsigned bits) {
  const auto* bytes = static_cast<const unsigned char*>(words) + i * sizeof(std::uint32_t);
  return static_cast<int>(load_raw<std::uint32_t>(bytes) >> shift & ((1u << bits) - 1));
}

// AutoAWQ's place of column j of eight in its word.
inline std::size_t awq_nibble(std::size_t j) { return j / 2 + j % 2 * 4; }

// The zero of block of rows r, block of columns c. Packed types have blocks of one row.
inline int zero_at(const CodedMatrix& w, std::size_t r, std::size_t c) {
  const Zeros& z = w.zeros;
  const std::size_t i = r * w.scales.row_stride + c * w.scales.column_stride;
  switch (z.type) {
    case ZeroType::kConstant:
      return z.constant;
    case ZeroType::kI8:
      return static_cast<const std::int8_t*>(z.data)[i];
    case ZeroType::kU8:
      return static_cast<const std::uint8_t*>(z.data)[i];
    case ZeroType::kPackedRows4:
      return z.constant + packed(z.data, r / 8 * w.column_blocks + c, r % 8 * 4, 4);
    case ZeroType::kPackedRows8:
      return z.constant + packed(z.data, r / 4 * w.column_blocks + c, r % 4 * 8, 8);
    case ZeroType::kPackedColumns4:
      return z.constant + packed(z.data, c * (w.n / 8) + r / 8, r % 8 * 4, 4);
    case ZeroType::kPackedColumns8:
      return z.constant + packed(z.data, c * (w.n / 4) + r / 4, r % 4 * 8, 8);
    case ZeroType::kPackedAwq4:
      return z.constant + packed(z.data, c * (w.n / 8) + r / 8, awq_nibble(r % 8) * 4, 4);
  }
  return 0;
}

}  // namespace
}  // namespace inferno::kernels

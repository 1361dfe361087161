// A weight matrix stored as codes, used where it lies:
//
//   w[j, p] = (value(code[j, p]) - zero(r, c)) * scale(r, c)   with r = j / block_rows, c = p / block_columns
//
// or, where the columns are not in the order of their blocks, c = block_of[p]. value() is the code itself, or for the
// codes of floating point what they stand for. (n, k) is the shape of w; no pointer has an alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno {

enum class CodeType {
  kI8,     // int8, a row after the other
  kU8,     // uint8; row_bytes >= k
  kU4,     // two in a byte, the even column in the low half; row_bytes >= ceil(k / 2)
  kLut4,   // two in a byte, the even column in the high half; value() is levels[code]; k even, row_bytes = k / 2
  kE4M3,   // float8 e4m3fn, a row after the other
  kGptq4,  // GPTQ: int32 words (k / 8, n), the first of their eight rows in the lowest bits
  kGptq8,  // GPTQ: int32 words (k / 4, n), likewise
  kAwq4,   // AutoAWQ: int32 words (k, n / 8), columns 0 2 4 6 1 3 5 7 of their eight from the lowest bits up
};
constexpr std::size_t kCodeTypes = 8;

// Blocks of columns that a matrix may have whose columns are in any order, or whose blocks are no multiple of 8 wide:
// their scales are looked up for each column, in a table that a kernel makes room for.
constexpr std::size_t kMaxGatheredBlocks = 2048;

enum class ScaleType {
  kF32,
  kF16,
  kBF16,
  kNested,  // uint8 codes of scales: nested_levels[code] * nested_scales[index / nested_block] + nested_offset
};

struct Scales {
  const void* data;
  ScaleType type;
  std::size_t row_stride, column_stride;  // elements between blocks of rows, and of columns
  float factor;                           // of each
  const float* nested_levels;             // (256,)
  const float* nested_scales;
  std::size_t nested_block;
  float nested_offset;
};

enum class ZeroType {
  kConstant,  // `constant` everywhere
  kI8,        // a byte for each block, with the strides of the scales
  kU8,
  kPackedRows4,     // int32 words (ceil(n / 8), column blocks): row j in bits 4 (j % 8) of its word; block_rows is 1
  kPackedRows8,     // the same in bytes: (ceil(n / 4), column blocks)
  kPackedColumns4,  // int32 words (column blocks, n / 8): row j in bits 4 (j % 8) of its word; block_rows is 1
  kPackedColumns8,  // the same in bytes: (column blocks, n / 4)
  kPackedAwq4,      // int32 words (column blocks, n / 8) in AutoAWQ's order; block_rows is 1
};

struct Zeros {
  ZeroType type;
  const void* data;
  int constant;  // the zero; of packed types, what is added to each (GPTQ stores one less)
};

struct CodedMatrix {
  CodeType type;
  const void* codes;
  std::size_t n, k;
  std::size_t row_bytes;  // between rows of codes; 0 for the types of int32 words
  const float* levels;    // (16,); of kLut4 alone
  std::size_t block_rows, block_columns;
  std::size_t column_blocks;     // how many there are along k
  const std::int32_t* block_of;  // (k,), each in [0, column_blocks); or null
  Scales scales;
  Zeros zeros;
};

}  // namespace inferno

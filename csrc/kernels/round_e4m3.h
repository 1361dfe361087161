// out[r, i] = e4m3(x[r, i] / s) * s, what an activation stored as float8 e4m3fn stands for.
//
// e4m3() clamps to [-448, 448] and rounds to nearest, ties to even, subnormals too. s is `scale`, or if that is 0
// absmax / 448 of each `group` columns of a row (the last group of a row may be shorter). With `reciprocal` x is
// multiplied by 1 / s rounded to float32 instead of divided.
//
// x, out: (rows, dim); out may be x. Where s is so small that 1 / s is infinite, out is 0. A group that holds a NaN or
// an infinity is NaN; under a fixed scale an infinity is clamped and a NaN stays. Every tier has the same bits.
#pragma once

#include <cstddef>

namespace inferno::kernels {

struct E4M3Rounding {
  float scale;        // 0: of each group
  std::size_t group;  // >= 1
  bool reciprocal;
};

using RoundE4M3 = void(float* out, const float* x, std::size_t rows, std::size_t dim, const E4M3Rounding& rounding);

}  // namespace inferno::kernels

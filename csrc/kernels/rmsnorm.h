// out[r, i] = x[r, i] / sqrt(mean_j(x[r, j]^2) + eps) * weight[i]
//
// x, out: (rows, dim) row-major, no padding; weight: (dim,), any alignment. dim >= 1.
// out may be x. Sums in float32, in an order that depends on dim alone.
#pragma once

#include <cstddef>

namespace inferno::kernels {

using RmsNorm = void(float* out, const float* x, const void* weight, std::size_t rows, std::size_t dim, float eps);

}  // namespace inferno::kernels

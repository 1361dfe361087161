// out[i, :] = table[ids[i], :], widened to float32
//
// out: (tokens, dim) row-major; ids: (tokens,), each in [0, rows of table); table: (rows, dim) row-major, any
// alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno::kernels {

using Embedding = void(float* out, const std::int32_t* ids, const void* table, std::size_t tokens, std::size_t dim);

}  // namespace inferno::kernels

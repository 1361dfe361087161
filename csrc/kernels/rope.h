// Rotary position embedding (Su et al., 2021), in two steps.
//
// rope_angles: cosines and sines of a token's position, once per step, shared by every layer:
//   angles[t, i]          = cos(positions[t] * inv_freq[i]) * factor    for i < half
//   angles[t, half + i]   = sin(positions[t] * inv_freq[i]) * factor
// The product is rounded to float32, as in the models' own training code; its cosine is then exact to float32.
//
// rope: rotates the pair (a, b) of each head by its angle, a' = a cos - b sin, b' = b cos + a sin, where
//   half-split order:   a = x[h, i],   b = x[h, half + i]      (Hugging Face)
//   interleaved order:  a = x[h, 2i],  b = x[h, 2i + 1]        (Meta)
// and writes the half-split order in both cases.
//
// x, out: (tokens, heads, 2 * half) row-major; angles: (tokens, 2 * half). half >= 1.
// out may be x in half-split order, and must not overlap it in interleaved order.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno::kernels {

using RopeAngles = void(float* angles, const std::int32_t* positions, const float* inv_freq, std::size_t tokens,
                        std::size_t half, float factor);
using Rope = void(float* out, const float* x, const float* angles, std::size_t tokens, std::size_t heads,
                  std::size_t half);

}  // namespace inferno::kernels

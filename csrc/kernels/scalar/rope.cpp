#include <cmath>

#include "kernels/scalar/kernels.h"

namespace inferno::kernels::scalar {

void rope_angles_f32(float* angles, const std::int32_t* positions, const float* inv_freq, std::size_t tokens,
                     std::size_t half, float factor) {
  for (std::size_t t = 0; t < tokens; ++t, angles += 2 * half) {
    for (std::size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(positions[t]) * inv_freq[i];
      angles[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
      angles[half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
    }
  }
}

void rope_half_split_f32(float* out, const float* x, const float* angles, std::size_t tokens, std::size_t heads,
                         std::size_t half) {
  for (std::size_t t = 0; t < tokens; ++t, angles += 2 * half) {
    for (std::size_t h = 0; h < heads; ++h, x += 2 * half, out += 2 * half) {
      for (std::size_t i = 0; i < half; ++i) {
        const float a = x[i], b = x[half + i], cos = angles[i], sin = angles[half + i];
        out[i] = a * cos - b * sin;
        out[half + i] = b * cos + a * sin;
      }
    }
  }
}

void rope_interleaved_f32(float* out, const float* x, const float* angles, std::size_t tokens, std::size_t heads,
                          std::size_t half) {
  for (std::size_t t = 0; t < tokens; ++t, angles += 2 * half) {
    for (std::size_t h = 0; h < heads; ++h, x += 2 * half, out += 2 * half) {
      for (std::size_t i = 0; i < half; ++i) {
        const float a = x[2 * i], b = x[2 * i + 1], cos = angles[i], sin = angles[half + i];
        out[i] = a * cos - b * sin;
        out[half + i] = b * cos + a * sin;
      }
    }
  }
}

}  // namespace inferno::kernels::scalar

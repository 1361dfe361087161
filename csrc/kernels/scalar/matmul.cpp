#include "kernels/scalar/epilogue.h"
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

// Eight partial sums: the rounding error grows with k / 8, and a compiler may keep them in vector registers.
constexpr std::size_t kLanes = kMatMulAlign;

template <class W>
float dot(const float* x, const MatMulArgs& a, std::size_t row) {
  float lanes[kLanes] = {};
  for (std::size_t s = 0; s < a.segment_count; ++s) {
    const auto [w, k] = a.segments[s];
    const std::size_t offset = row * k;
    std::size_t p = 0;
    for (; p + kLanes <= k; p += kLanes) {
      for (std::size_t l = 0; l < kLanes; ++l) lanes[l] += x[p + l] * get<W>(w, offset + p + l);
    }
    for (std::size_t l = 0; p + l < k; ++l) lanes[l] += x[p + l] * get<W>(w, offset + p + l);
    x += k;
  }
  return sum_lanes(lanes);
}

template <class W>
void matmul(const MatMulArgs& a) {
  for (std::size_t j = a.n_begin; j < a.n_end; ++j) {
    for (std::size_t i = 0; i < a.m; ++i) {
      a.out[i * a.ldo + j] = finish(a.epilogue, dot<W>(a.x + i * a.ldx, a, j), i, j);
    }
  }
}

}  // namespace

void matmul_f32_f32_f32(const MatMulArgs& args) { matmul<F32>(args); }
void matmul_f32_f32_f16(const MatMulArgs& args) { matmul<F16>(args); }
void matmul_f32_f32_bf16(const MatMulArgs& args) { matmul<BF16>(args); }

}  // namespace inferno::kernels::scalar

// Numbers of a loop as compile-time constants, so that registers can be named by them. Internal linkage, as lanes.h.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace inferno::kernels::avx2 {
namespace {

// Calls f with each of 0 .. N - 1 as a compile-time constant: loops that GCC unrolls late leave accumulators in memory.
template <std::size_t... I, class F>
[[gnu::always_inline]] inline void each_constant(std::index_sequence<I...>, F f) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}

// Calls f with `n` as a compile-time constant, 1 <= n <= N.
template <std::size_t N, class F>
void with_constant(std::size_t n, F f) {
  if constexpr (N > 1) {
    if (n < N) return with_constant<N - 1>(n, f);
  }
  f(std::integral_constant<std::size_t, N>{});
}

}  // namespace
}  // namespace inferno::kernels::avx2

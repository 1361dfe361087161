// acc += products of pairs of 16-bit integers, where every register counts. Internal linkage, as lanes.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <type_traits>
#include <utility>

namespace inferno::kernels::avx2 {
namespace {

// Of intrinsics GCC makes more temporaries than there are registers left beside twelve accumulators, and stores some of
// those in every round. Here one is enough.
[[gnu::always_inline]] inline void madd(__m256i& acc, __m256i a, __m256i b) {
  __m256i products;
  asm("vpmaddwd %[b], %[a], %[products]\n\tvpaddd %[products], %[acc], %[acc]"
      : [acc] "+x"(acc), [products] "=&x"(products)
      : [a] "x"(a), [b] "x"(b));
}

// Calls f with each of 0 .. N - 1 as a compile-time constant: loops that GCC unrolls late leave accumulators in memory.
template <std::size_t... I, class F>
[[gnu::always_inline]] inline void each_constant(std::index_sequence<I...>, F f) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}

}  // namespace
}  // namespace inferno::kernels::avx2

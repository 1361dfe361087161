// acc += products of pairs of 16-bit integers, where every register counts. Internal linkage, as lanes.h.
#pragma once

#include <immintrin.h>

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

}  // namespace
}  // namespace inferno::kernels::avx2

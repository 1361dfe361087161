#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

template <class W>
void embedding(float* out, const std::int32_t* ids, const void* table, std::size_t tokens, std::size_t dim) {
  for (std::size_t t = 0; t < tokens; ++t, out += dim) {
    const auto* row = elements<W>(table) + static_cast<std::size_t>(ids[t]) * dim;
    std::size_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) _mm256_storeu_ps(out + i, load(W{}, row + i));
    if (i < dim) store_part(out + i, load_part(W{}, row + i, dim - i), dim - i);
  }
}

}  // namespace

void embedding_f32_f32(float* out, const std::int32_t* ids, const void* table, std::size_t tokens, std::size_t dim) {
  embedding<F32>(out, ids, table, tokens, dim);
}
void embedding_f32_f16(float* out, const std::int32_t* ids, const void* table, std::size_t tokens, std::size_t dim) {
  embedding<F16>(out, ids, table, tokens, dim);
}
void embedding_f32_bf16(float* out, const std::int32_t* ids, const void* table, std::size_t tokens, std::size_t dim) {
  embedding<BF16>(out, ids, table, tokens, dim);
}

}  // namespace inferno::kernels::avx2

#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

template <class W>
void embedding(float* out, const std::int32_t* ids, const void* table, std::size_t tokens, std::size_t dim) {
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::size_t row = static_cast<std::size_t>(ids[t]) * dim;
    for (std::size_t i = 0; i < dim; ++i) out[t * dim + i] = get<W>(table, row + i);
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

}  // namespace inferno::kernels::scalar

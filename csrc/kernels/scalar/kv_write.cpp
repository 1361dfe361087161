#include "kernels/scalar/kernels.h"
#include "kernels/scalar/stored.h"

namespace inferno::kernels::scalar {
namespace {

template <class C>
void kv_write(void* keys, void* values, std::size_t slot, const float* key, const float* value, std::size_t head_dim) {
  for (std::size_t d = 0; d < head_dim; ++d) {
    put<C>(keys, d * kKvBlock + slot, key[d]);
    put<C>(values, slot * head_dim + d, value[d]);
  }
}

}  // namespace

void kv_write_f32_f32(void* keys, void* values, std::size_t slot, const float* key, const float* value,
                      std::size_t head_dim) {
  kv_write<F32>(keys, values, slot, key, value, head_dim);
}
void kv_write_f16_f32(void* keys, void* values, std::size_t slot, const float* key, const float* value,
                      std::size_t head_dim) {
  kv_write<F16>(keys, values, slot, key, value, head_dim);
}
void kv_write_bf16_f32(void* keys, void* values, std::size_t slot, const float* key, const float* value,
                       std::size_t head_dim) {
  kv_write<BF16>(keys, values, slot, key, value, head_dim);
}

}  // namespace inferno::kernels::scalar

#include "kernels/avx2/kernels.h"
#include "kernels/avx2/lanes.h"

namespace inferno::kernels::avx2 {
namespace {

void narrow_to(F32, float* out, __m256 v) { _mm256_storeu_ps(out, v); }
template <class C>
void narrow_to(C, std::uint16_t* out, __m256 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), narrow(C{}, v));
}

template <class C>
void kv_write(void* keys, void* values, std::size_t slot, const float* key, const float* value, std::size_t head_dim) {
  using Storage = typename C::Storage;
  Storage* column = static_cast<Storage*>(keys) + slot;
  Storage* row = static_cast<Storage*>(values) + slot * head_dim;
  for (std::size_t d = 0; d < head_dim; d += kLanes) {
    const std::size_t count = head_dim - d < kLanes ? head_dim - d : kLanes;
    Storage lanes[kLanes];
    narrow_to(C{}, lanes, load_part(F32{}, key + d, count));
    for (std::size_t l = 0; l < count; ++l) column[(d + l) * kKvBlock] = lanes[l];
    narrow_to(C{}, lanes, load_part(F32{}, value + d, count));
    std::memcpy(row + d, lanes, count * sizeof(Storage));
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

}  // namespace inferno::kernels::avx2

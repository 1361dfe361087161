// Reads and writes of the stored types, one element at a time, exact or rounded to nearest with ties to even.
// Everything here has internal linkage, so that no copy built with a tier's flags can be linked into other code.
#pragma once

#include <cstdint>
#include <cstring>

namespace inferno::kernels {
namespace {

struct F32 {
  using Storage = float;
};
struct F16 {
  using Storage = std::uint16_t;
};
struct BF16 {
  using Storage = std::uint16_t;
};

template <class T>
T load_raw(const void* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

template <class T>
void store_raw(void* address, T value) {
  std::memcpy(address, &value, sizeof value);
}

inline float bits_to_float(std::uint32_t bits) { return load_raw<float>(&bits); }
inline std::uint32_t float_to_bits(float value) { return load_raw<std::uint32_t>(&value); }

inline float widen(F32, float value) { return value; }
inline float widen(BF16, std::uint16_t value) { return bits_to_float(std::uint32_t{value} << 16); }
inline float widen(F16, std::uint16_t value) {
  const std::uint32_t sign = std::uint32_t{value & 0x8000u} << 16;
  const std::uint32_t rest = value & 0x7fffu;
  if (rest >= 0x7c00u) return bits_to_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);  // infinity, NaN
  if (rest >= 0x0400u) return bits_to_float(sign | ((rest << 13) + 0x38000000u));         // exponent bias 15 -> 127
  const float magnitude = static_cast<float>(rest) * 0x1p-24f;                            // subnormal or zero
  return bits_to_float(sign | float_to_bits(magnitude));
}

inline float narrow(F32, float value) { return value; }
inline std::uint16_t narrow(BF16, float value) {
  const std::uint32_t bits = float_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>(bits >> 16 | 0x40u);  // NaN stays NaN
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline std::uint16_t narrow(F16, float value) {
  const std::uint32_t bits = float_to_bits(value);
  const std::uint16_t sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  const std::uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return sign | 0x7e00u | (rest >> 13 & 0x3ffu);  // NaN
  if (rest >= 0x477ff000u) return sign | 0x7c00u;                         // 65520 and above round to infinity
  if (rest < 0x38800000u) {
    // Below 2^-14 the result is a multiple of 2^-24: adding 0.5 lets the FPU round at that place.
    return sign | static_cast<std::uint16_t>(float_to_bits(bits_to_float(rest) + 0.5f) - 0x3f000000u);
  }
  return sign | static_cast<std::uint16_t>((rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13);
}

// Element `index` of an array of stored type T at any alignment.
template <class T>
float get(const void* array, std::size_t index) {
  const auto* bytes = static_cast<const unsigned char*>(array) + index * sizeof(typename T::Storage);
  return widen(T{}, load_raw<typename T::Storage>(bytes));
}

template <class T>
void put(void* array, std::size_t index, float value) {
  auto* bytes = static_cast<unsigned char*>(array) + index * sizeof(typename T::Storage);
  store_raw(bytes, narrow(T{}, value));
}

}  // namespace
}  // namespace inferno::kernels

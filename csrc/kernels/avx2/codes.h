// Eight codes of one row of w as floats, for the types whose rows lie one after the other. Internal linkage, as
// lanes.h.
//
// numbers() gives what codes stand for divided by unit(), a power of two for each lane, which a scale takes up exactly.
#pragma once

#include "kernels/avx2/coded_reading.h"

namespace inferno::kernels::avx2 {
namespace {

// Codes of a byte.
struct ByteCodes {
  static constexpr std::size_t kPerByte = 1;
  explicit ByteCodes(const CodedMatrix&) {}
  static __m128i bytes(const unsigned char* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static __m128i bytes_part(const unsigned char* p, std::size_t count) { return load_bytes(p, count); }
};

struct I8Codes : ByteCodes {
  using ByteCodes::ByteCodes;
  static constexpr bool kUnits = false;
  static __m256 unit() { return _mm256_set1_ps(1); }
  static __m256 numbers(__m128i v) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)); }
};

struct U8Codes : ByteCodes {
  using ByteCodes::ByteCodes;
  static constexpr bool kUnits = false;
  static __m256 unit() { return _mm256_set1_ps(1); }
  static __m256 numbers(__m128i v) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)); }
};

// Shifted by 7 bits, e4m3 reads as float16 of 2^-8 times its value, subnormals included; all but NaN, whose exponent is
// no float16's greatest. float16 widens without the assists that float32's subnormals cost.
struct E4M3Codes : ByteCodes {
  using ByteCodes::ByteCodes;
  static constexpr bool kUnits = true;
  static __m256 unit() { return _mm256_set1_ps(256); }
  static __m256 numbers(__m128i v) {
    const __m128i sign = _mm_set1_epi16(static_cast<short>(0x8000)),
                  greatest = _mm_set1_epi16(static_cast<short>(0xbf80));
    const __m128i half = _mm_and_si128(_mm_slli_epi16(_mm_cvtepi8_epi16(v), 7), greatest);
    const __m128i nan = _mm_cmpeq_epi16(_mm_or_si128(half, sign), greatest);
    return _mm256_cvtph_ps(_mm_or_si128(half, nan));
  }
};

// Two codes in a byte; four bytes, repeated for every lane.
struct NibbleCodes {
  static constexpr std::size_t kPerByte = 2;
  static __m128i bytes(const unsigned char* p) {
    std::uint32_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm_cvtsi32_si128(static_cast<int>(word));
  }
  static __m128i bytes_part(const unsigned char* p, std::size_t count) { return load_bytes(p, (count + 1) / 2); }
};

struct U4Codes : NibbleCodes {
  explicit U4Codes(const CodedMatrix&) {}
  static constexpr bool kUnits = true;
  static __m256 unit() { return _mm256_setr_ps(1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f); }
  static __m256 numbers(__m128i v) {
    // The byte of each lane, then one of its halves; what is in the high half counts 16 times.
    const __m256i place = _mm256_setr_epi32(-256, -256, -255, -255, -254, -254, -253, -253);
    const __m256i half = _mm256_setr_epi32(0x0f, 0xf0, 0x0f, 0xf0, 0x0f, 0xf0, 0x0f, 0xf0);
    const __m256i byte = _mm256_shuffle_epi8(_mm256_broadcastd_epi32(v), place);
    return _mm256_cvtepi32_ps(_mm256_and_si256(byte, half));
  }
};

// A table of 16 floats in two registers.
struct Levels {
  __m256 low, high;
  __m256 at(__m128i v) const {
    const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    const __m256i code = _mm256_srlv_epi32(_mm256_broadcastd_epi32(v), shifts);  // its lowest four bits
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code), upper);
  }
};

struct Lut4Codes : NibbleCodes {
  static constexpr bool kUnits = false;
  Levels levels;
  explicit Lut4Codes(const CodedMatrix& w) : levels{_mm256_loadu_ps(w.levels), _mm256_loadu_ps(w.levels + kLanes)} {}
  static __m256 unit() { return _mm256_set1_ps(1); }
  __m256 numbers(__m128i v) const { return levels.at(v); }
};

// v, of which lanes from `count` on are 0: codes past the end stand for something too.
inline __m256 zeros_after(__m256 v, std::size_t count) { return _mm256_and_ps(v, _mm256_castsi256_ps(mask_of(count))); }

// Codes of a row within one block, widened. Fused: see fusible().
template <class Codes, bool kFused>
struct Column {
  __m256 scale, offset;  // offset: what fma() adds, or the zero
  void set(const Codes&, float s, float o) {
    scale = _mm256_set1_ps(s);
    if constexpr (kFused && Codes::kUnits) scale = _mm256_mul_ps(scale, Codes::unit());
    offset = _mm256_set1_ps(o);
  }
  __m256 at(const Codes& codes, __m128i v) const {
    __m256 number = codes.numbers(v);
    if constexpr (kFused) return _mm256_fmadd_ps(number, scale, offset);
    if constexpr (Codes::kUnits) number = _mm256_mul_ps(number, Codes::unit());
    return _mm256_mul_ps(_mm256_sub_ps(number, offset), scale);
  }
};

// Without zeros: the scale goes into the table.
template <bool kFused>
struct Column<Lut4Codes, kFused> {
  Levels levels;
  void set(const Lut4Codes& codes, float s, float) {
    levels.low = _mm256_mul_ps(codes.levels.low, _mm256_set1_ps(s));
    levels.high = _mm256_mul_ps(codes.levels.high, _mm256_set1_ps(s));
  }
  __m256 at(const Lut4Codes&, __m128i v) const { return levels.at(v); }
};

}  // namespace
}  // namespace inferno::kernels::avx2

// Codes of one row of w as floats, for the types whose rows lie one after the other. Internal linkage, as lanes.h.
//
// numbers() gives what eight codes stand for divided by unit(), a power of two for each lane, which a scale takes up
// exactly. line() gives those of 32 codes at less cost, where kSplit in another order of lanes: the even ones of each
// eight, then the odd, which lie in different halves of their bytes. line_unit() is its unit().
#pragma once

#include "kernels/avx2/coded_reading.h"

namespace inferno::kernels::avx2 {
namespace {

// Codes that line() and numbers() take eight by eight.
constexpr std::size_t kLine = 32;
constexpr std::size_t kLineVectors = kLine / kLanes;

inline __m256i load_256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }

inline __m256i broadcast_128(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

// Lanes in the order of split lines, and back.
inline __m256 split(__m256 v) { return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)); }
inline __m256 joined(__m256 v) { return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)); }

// Codes of a byte.
struct ByteCodes {
  static constexpr bool kSplit = false;
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
  static __m256 line_unit() { return unit(); }
  [[gnu::always_inline]] void line(const unsigned char* p, __m256 (&out)[kLineVectors]) const {
    for (std::size_t i = 0; i < kLineVectors; ++i) out[i] = numbers(bytes(p + i * kLanes));
  }
};

struct U8Codes : ByteCodes {
  using ByteCodes::ByteCodes;
  static constexpr bool kUnits = false;
  static __m256 unit() { return _mm256_set1_ps(1); }
  static __m256 numbers(__m128i v) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)); }
  static __m256 line_unit() { return unit(); }
  [[gnu::always_inline]] void line(const unsigned char* p, __m256 (&out)[kLineVectors]) const {
    for (std::size_t i = 0; i < kLineVectors; ++i) out[i] = numbers(bytes(p + i * kLanes));
  }
};

// Shifted by 7 bits, e4m3 reads as float16 of 2^-8 times its value, subnormals included; all but NaN, whose exponent is
// no float16's greatest. float16 widens without the assists that float32's subnormals cost.
struct E4M3Codes : ByteCodes {
  using ByteCodes::ByteCodes;
  static constexpr bool kUnits = true;
  static __m256 unit() { return _mm256_set1_ps(256); }
  static __m256 line_unit() { return unit(); }
  static __m256i halves(__m128i v) {
    const __m256i sign = _mm256_set1_epi16(static_cast<short>(0x8000));
    const __m256i greatest = _mm256_set1_epi16(static_cast<short>(0xbf80));
    const __m256i half = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(v), 7), greatest);
    const __m256i nan = _mm256_cmpeq_epi16(_mm256_or_si256(half, sign), greatest);
    return _mm256_or_si256(half, nan);
  }
  static __m256 numbers(__m128i v) { return _mm256_cvtph_ps(_mm256_castsi256_si128(halves(v))); }
  [[gnu::always_inline]] void line(const unsigned char* p, __m256 (&out)[kLineVectors]) const {
    alignas(32) std::uint16_t lanes[kLine];
    for (std::size_t i = 0; i < kLine; i += 16) {
      const __m256i v = halves(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i)));
      _mm256_store_si256(reinterpret_cast<__m256i*>(lanes + i), v);
    }
    // Reading halves back takes fewer shuffles than taking registers apart, which compilers would make of it.
    asm("" : "+m"(lanes));
    for (std::size_t i = 0; i < kLineVectors; ++i) {
      out[i] = _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(lanes + i * kLanes)));
    }
  }
};

// Two codes in a byte; four bytes, repeated for every lane.
struct NibbleCodes {
  static constexpr bool kSplit = true;
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
  static __m256 line_unit() { return split(unit()); }
  [[gnu::always_inline]] void line(const unsigned char* p, __m256 (&out)[kLineVectors]) const {
    const __m256i half = _mm256_setr_epi32(0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f,  //
                                           -0x0f0f0f10, -0x0f0f0f10, -0x0f0f0f10, -0x0f0f0f10);
    const __m256i v = _mm256_and_si256(broadcast_128(p), half);
    for (int i = 0; i < static_cast<int>(kLineVectors); ++i) {
      const __m256i place =
          _mm256_broadcastsi128_si256(_mm_setr_epi32(4 * i - 256, 4 * i - 255, 4 * i - 254, 4 * i - 253));
      out[i] = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(v, place));
    }
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
  __m256i planes[4];  // byte b of each level, in both halves
  explicit Lut4Codes(const CodedMatrix& w) : levels{_mm256_loadu_ps(w.levels), _mm256_loadu_ps(w.levels + kLanes)} {
    alignas(32) unsigned char bytes[4][32];
    for (std::size_t i = 0; i < 32; ++i) {
      std::uint32_t level;
      std::memcpy(&level, w.levels + i % 16, sizeof level);
      for (std::size_t b = 0; b < 4; ++b) bytes[b][i] = static_cast<unsigned char>(level >> 8 * b);
    }
    for (std::size_t b = 0; b < 4; ++b) planes[b] = load_256(bytes[b]);
  }
  static __m256 unit() { return _mm256_set1_ps(1); }
  __m256 numbers(__m128i v) const { return levels.at(v); }
  static __m256 line_unit() { return unit(); }
  // Looks up byte b of every level by itself, and joins the four.
  [[gnu::always_inline]] void line(const unsigned char* p, __m256 (&out)[kLineVectors]) const {
    const __m256i shifts = _mm256_setr_epi32(4, 4, 4, 4, 0, 0, 0, 0);
    const __m256i v = _mm256_and_si256(_mm256_srlv_epi32(broadcast_128(p), shifts), _mm256_set1_epi8(15));
    __m256i byte[4];
    for (std::size_t b = 0; b < 4; ++b) byte[b] = _mm256_shuffle_epi8(planes[b], v);
    const __m256i first[2] = {_mm256_unpacklo_epi8(byte[0], byte[1]), _mm256_unpackhi_epi8(byte[0], byte[1])};
    const __m256i second[2] = {_mm256_unpacklo_epi8(byte[2], byte[3]), _mm256_unpackhi_epi8(byte[2], byte[3])};
    for (std::size_t i = 0; i < 2; ++i) {
      out[2 * i] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(first[i], second[i]));
      out[2 * i + 1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(first[i], second[i]));
    }
  }
};

// v, of which lanes from `count` on are 0: codes past the end stand for something too.
inline __m256 zeros_after(__m256 v, std::size_t count) { return _mm256_and_ps(v, _mm256_castsi256_ps(mask_of(count))); }

// Widens numbers of a row within one block. Fused: see fusible(). kLines: those of line().
template <class Codes, bool kFused, bool kLines>
struct Column {
  __m256 scale, offset;  // offset: what fma() adds, or the zero
  static __m256 unit() { return kLines ? Codes::line_unit() : Codes::unit(); }
  void set(float s, float o) {
    scale = _mm256_set1_ps(s);
    if constexpr (kFused && Codes::kUnits) scale = _mm256_mul_ps(scale, unit());
    offset = _mm256_set1_ps(o);
  }
  __m256 widened(__m256 number) const {
    if constexpr (kFused) return _mm256_fmadd_ps(number, scale, offset);
    if constexpr (Codes::kUnits) number = _mm256_mul_ps(number, unit());
    return _mm256_mul_ps(_mm256_sub_ps(number, offset), scale);
  }
};

// Without zeros.
template <bool kFused, bool kLines>
struct Column<Lut4Codes, kFused, kLines> {
  __m256 scale;
  void set(float s, float) { scale = _mm256_set1_ps(s); }
  __m256 widened(__m256 number) const { return _mm256_mul_ps(number, scale); }
};

}  // namespace
}  // namespace inferno::kernels::avx2

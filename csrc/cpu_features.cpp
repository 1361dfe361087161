#include "cpu_features.h"

#if defined(__x86_64__)
#  include <cpuid.h>

#  include <cstdint>
#endif

namespace inferno {
namespace {

#if defined(__x86_64__)

constexpr bool bit(std::uint32_t word, int index) { return (word >> index) & 1u; }

std::uint64_t xcr0() {
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

CpuFeatures detect() {
  CpuFeatures found;
  std::uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  found.sse42 = bit(c, 20);
  // OSXSAVE first: without it XGETBV is an illegal instruction. XCR0 bits 1 and 2: XMM and YMM state is saved.
  const bool ymm = bit(c, 27) && (xcr0() & 0x6) == 0x6;
  if (!ymm) return found;
  found.fma = bit(c, 12);
  found.f16c = bit(c, 29);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) found.avx2 = bit(b, 5);
  return found;
}

#else

CpuFeatures detect() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::vector<NamedFeature> named_features() {
  const CpuFeatures& f = cpu_features();
  return {{"sse4_2", f.sse42}, {"avx2", f.avx2}, {"fma", f.fma}, {"f16c", f.f16c}};
}

}  // namespace inferno

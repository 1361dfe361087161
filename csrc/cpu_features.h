// What this CPU has and this operating system lets us use. Built with baseline flags: it runs before any tier is
// chosen.
#pragma once

#include <vector>

namespace inferno {

struct CpuFeatures {
  bool sse42 = false;
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
};

// CPUID says what the CPU decodes, XGETBV which registers the OS saves; a feature counts only when both agree.
// All false on a CPU that is not x86-64.
const CpuFeatures& cpu_features();

struct NamedFeature {
  const char* name;  // as /proc/cpuinfo spells it
  bool found;
};
std::vector<NamedFeature> named_features();

}  // namespace inferno

// A matrix of codes as Python holds it: checked once, here, for every kernel that reads one.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "bindings/checks.h"
#include "kernels/coded.h"

namespace inferno::bindings {

struct CodedWeight {
  std::string kind;        // as Python names it: "i8", "gptq4", ...
  CodedMatrix matrix{};    // points into the arrays below, and into the copies
  std::size_t nbytes = 0;  // of the arrays: what lies in storage
  std::vector<py::array> arrays;
  // Small, and read by index or by vector: own copies are aligned, and nobody can change them after the check.
  std::vector<std::int32_t> block_of;
  std::array<float, 16> levels{};
  std::array<float, 256> nested_levels{};

  CodedWeight() = default;
  CodedWeight(const CodedWeight&) = delete;
  CodedWeight& operator=(const CodedWeight&) = delete;
};

// Requires that `out` shares no memory with codes, scales or zeros.
inline void require_apart(const py::array& out, const CodedWeight& weight, const std::string& what) {
  for (const py::array& each : weight.arrays) require_apart(out, each, what, "weight");
}

}  // namespace inferno::bindings

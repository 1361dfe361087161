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
  std::vector<py::object> arrays;
  // Small, and read by index or by vector: own copies are aligned, and nobody can change them after the check.
  std::vector<std::int32_t> block_of;
  std::array<float, 16> levels{};
  std::array<float, 256> nested_levels{};

  CodedWeight() = default;
  CodedWeight(const CodedWeight&) = delete;
  CodedWeight& operator=(const CodedWeight&) = delete;
};

}  // namespace inferno::bindings

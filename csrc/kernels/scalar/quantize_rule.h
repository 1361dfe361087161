// What the statistics of a row make of a rule: one place for every tier.
// Everything here has internal linkage, so that no copy built with a tier's flags can be linked into other code.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/quantize.h"

namespace inferno::kernels {
namespace {

constexpr float kLowestCode = -128.0f, kHighestCode = 127.0f;

// q = clamp(round(x * factor) + zero), or if `divide` round(clamp(x / factor + zero)); code = q - zero.
struct RowRule {
  float scale;
  float factor;
  float zero;
  bool divide;
  bool empty;  // codes are all 0
};

inline bool is_static(QuantizeRule rule) {
  return rule == QuantizeRule::kStatic || rule == QuantizeRule::kStaticAsServed;
}

inline bool has_range(QuantizeRule rule) {
  return rule == QuantizeRule::kRange || rule == QuantizeRule::kRangeAsServed;
}

// absmax: the largest |x| of the row without its outliers; low <= 0 <= high: its ends.
inline RowRule row_rule(const Quantization& how, float absmax, float low, float high) {
  RowRule rule{};
  switch (how.rule) {
    case QuantizeRule::kAbsmax127:
      rule.scale = absmax / 127.0f;
      rule.factor = 127.0f / absmax;
      break;
    case QuantizeRule::kAbsmax127_5:
      rule.scale = rule.factor = absmax / 127.5f;
      rule.divide = true;
      break;
    case QuantizeRule::kRangeAsServed:
    case QuantizeRule::kRange:
      rule.scale = (high - low) / 255.0f;
      // Of subnormal numbers the scale is so coarse that the quotient may lie beyond the codes.
      rule.zero = std::nearbyint(kLowestCode - low / rule.scale);
      if (rule.zero > kHighestCode) rule.zero = kHighestCode;
      rule.divide = how.rule == QuantizeRule::kRange;
      rule.factor = rule.divide ? rule.scale : 1.0f / rule.scale;
      break;
    case QuantizeRule::kStaticAsServed:
    case QuantizeRule::kStatic:
      rule.scale = how.scale;
      rule.zero = static_cast<float>(how.zero);
      rule.divide = how.rule == QuantizeRule::kStatic;
      rule.factor = rule.divide ? how.scale : 1.0f / how.scale;
      break;
  }
  if (!std::isfinite(absmax) || !std::isfinite(rule.scale)) {
    rule.scale = std::numeric_limits<float>::quiet_NaN();
    rule.empty = true;
  } else if (!is_static(how.rule) && (!(rule.scale > 0) || !std::isfinite(rule.factor) || !std::isfinite(rule.zero))) {
    rule.scale = 0;
    rule.empty = true;
  }
  return rule;
}

}  // namespace
}  // namespace inferno::kernels

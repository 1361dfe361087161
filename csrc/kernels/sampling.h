// What touches the whole vocabulary when a token is chosen. The rule itself, which sees few tokens, is
// sampling/sampler.h.
//
// Logits are handled in groups of kLogitGroup consecutive ids, the last one perhaps shorter: a group's maximum lets a
// later pass leave it out unread, so that an exact selection costs little more than one pass.
//
// x: (n,) logits, any alignment. 1 <= n <= kMaxVocab.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno::kernels {

constexpr std::size_t kLogitGroup = 64;

struct Peak {
  float value;  // the largest logit that is a number; -infinity if there is none
  bool nan;     // there is a NaN
};

// maxima[g] = max x[i] over group g, NaN left out; -infinity if nothing is left.
using GroupMax = Peak(float* maxima, const float* x, std::size_t n);

// Writes the i with x[i] >= threshold, ascending, to ids (room for n); returns how many. maxima: as GroupMax left it.
// threshold is not NaN; groups whose maximum is lower are not read.
using Collect = std::size_t(std::int32_t* ids, const float* x, std::size_t n, const float* maxima, float threshold);

// weights[i] = exp((x[i] - peak) * scale)    within 4 units in the last place of exp of the float32 product;
//                                             0 below exp(-87.33)
// sums[g]    = sum of mass(weights[i]) over group g, exactly (kernels/mass.h)
//
// x[i] <= peak, not NaN; peak finite; scale > 0 and normal. weights may be x.
using ExpWeights = void(float* weights, std::uint64_t* sums, const float* x, std::size_t n, float peak, float scale);

}  // namespace inferno::kernels

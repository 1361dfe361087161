// out[i] = gate[i] / (1 + exp(-gate[i])) * up[i]
//
// out, gate, up: (n,), any alignment. out may be gate or up. An element's value does not depend on its place.
#pragma once

#include <cstddef>

namespace inferno::kernels {

using SiluMul = void(float* out, const float* gate, const float* up, std::size_t n);

}  // namespace inferno::kernels

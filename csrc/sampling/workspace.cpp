#include "sampling/workspace.h"

#include <initializer_list>

#include "kernels/sampling.h"

namespace inferno {

std::size_t logit_groups(std::size_t vocab_size) {
  return (vocab_size + kernels::kLogitGroup - 1) / kernels::kLogitGroup;
}

SamplingWorkspace& SamplingWorkspace::of_thread(std::size_t vocab_size) {
  thread_local SamplingWorkspace w;
  if (w.capacity >= vocab_size) return w;
  w.capacity = 0;  // should an allocation fail
  const std::size_t groups = logit_groups(vocab_size);
  for (auto* floats : {&w.penalized, &w.x, &w.weights}) floats->reset(new float[vocab_size]);
  for (auto* floats : {&w.maxima, &w.maxima_copy}) floats->reset(new float[groups]);
  w.ids.reset(new std::int32_t[vocab_size]);
  w.ranks.reset(new std::uint64_t[vocab_size]);
  w.sums.reset(new std::uint64_t[groups]);
  w.capacity = vocab_size;
  return w;
}

}  // namespace inferno

#include "kernels/kernel_table.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "cpu_features.h"
#include "kernels/scalar/kernels.h"
#ifdef INFERNO_X86_TIERS
#  include "kernels/avx2/kernels.h"
#endif

namespace inferno {
namespace {

KernelTable scalar_table() {
  using namespace kernels::scalar;
  KernelTable t{};
  t.embedding = {embedding_f32_f32, embedding_f32_f16, embedding_f32_bf16};
  t.rmsnorm = {rmsnorm_f32_f32_f32, rmsnorm_f32_f32_f16, rmsnorm_f32_f32_bf16};
  t.quantize = quantize_i8_f32;
  t.rmsnorm_quantize = {rmsnorm_i8_f32_f32, rmsnorm_i8_f32_f16, rmsnorm_i8_f32_bf16};
  t.matmul = {matmul_f32_f32_f32, matmul_f32_f32_f16, matmul_f32_f32_bf16};
  t.matmul_coded = {matmul_f32_f32_i8,   matmul_f32_f32_u8,    matmul_f32_f32_u4,    matmul_f32_f32_lut4,
                    matmul_f32_f32_e4m3, matmul_f32_f32_gptq4, matmul_f32_f32_gptq8, matmul_f32_f32_awq4};
  t.round_e4m3 = round_e4m3_f32;
  t.matmul_int8 = {matmul_f32_i8_i8, matmul_f32_i8_u8};
  t.rope_angles = rope_angles_f32;
  t.rope_half_split = rope_half_split_f32;
  t.rope_interleaved = rope_interleaved_f32;
  t.kv_write = {kv_write_f32_f32, kv_write_f16_f32, kv_write_bf16_f32};
  t.attention = {attention_f32_f32_f32, attention_f32_f32_f16, attention_f32_f32_bf16};
  t.silu_mul = silu_mul_f32;
  t.group_max = group_max_f32;
  t.collect = collect_f32;
  t.exp_weights = exp_weights_f32;
  t.read_all = read_all;
  t.fma_peak = fma_peak;
  t.madd_peak = madd_peak;
  return t;
}

// Each tier starts as the tier below and replaces what it does better.
#ifdef INFERNO_X86_TIERS
KernelTable avx2_table() {
  using namespace kernels::avx2;
  KernelTable t = scalar_table();
  t.embedding = {embedding_f32_f32, embedding_f32_f16, embedding_f32_bf16};
  t.rmsnorm = {rmsnorm_f32_f32_f32, rmsnorm_f32_f32_f16, rmsnorm_f32_f32_bf16};
  t.quantize = quantize_i8_f32;
  t.rmsnorm_quantize = {rmsnorm_i8_f32_f32, rmsnorm_i8_f32_f16, rmsnorm_i8_f32_bf16};
  t.matmul = {matmul_f32_f32_f32, matmul_f32_f32_f16, matmul_f32_f32_bf16};
  t.matmul_coded = {matmul_f32_f32_i8,   matmul_f32_f32_u8,    matmul_f32_f32_u4,    matmul_f32_f32_lut4,
                    matmul_f32_f32_e4m3, matmul_f32_f32_gptq4, matmul_f32_f32_gptq8, matmul_f32_f32_awq4};
  t.round_e4m3 = round_e4m3_f32;
  t.matmul_int8 = {matmul_f32_i8_i8, matmul_f32_i8_u8};
  t.rope_half_split = rope_half_split_f32;
  t.rope_interleaved = rope_interleaved_f32;
  t.kv_write = {kv_write_f32_f32, kv_write_f16_f32, kv_write_bf16_f32};
  t.attention = {attention_f32_f32_f32, attention_f32_f32_f16, attention_f32_f32_bf16};
  t.silu_mul = silu_mul_f32;
  t.group_max = group_max_f32;
  t.collect = collect_f32;
  t.exp_weights = exp_weights_f32;
  t.read_all = read_all;
  t.fma_peak = fma_peak;
  t.madd_peak = madd_peak;
  return t;
}
#endif

// Calls f(member of KernelTable, its kernels' names) for each member. A kernel is named for the types of its output, of
// what it reads, and of what is stored.
template <class F>
constexpr void each_member(F f) {
  using T = KernelTable;
  f(&T::embedding, "embedding_f32_f32", "embedding_f32_f16", "embedding_f32_bf16");
  f(&T::rmsnorm, "rmsnorm_f32_f32_f32", "rmsnorm_f32_f32_f16", "rmsnorm_f32_f32_bf16");
  f(&T::quantize, "quantize_i8_f32");
  f(&T::rmsnorm_quantize, "rmsnorm_i8_f32_f32", "rmsnorm_i8_f32_f16", "rmsnorm_i8_f32_bf16");
  f(&T::matmul, "matmul_f32_f32_f32", "matmul_f32_f32_f16", "matmul_f32_f32_bf16");
  f(&T::matmul_coded, "matmul_f32_f32_i8", "matmul_f32_f32_u8", "matmul_f32_f32_u4", "matmul_f32_f32_lut4",
    "matmul_f32_f32_e4m3", "matmul_f32_f32_gptq4", "matmul_f32_f32_gptq8", "matmul_f32_f32_awq4");
  f(&T::round_e4m3, "round_e4m3_f32");
  f(&T::matmul_int8, "matmul_f32_i8_i8", "matmul_f32_i8_u8");
  f(&T::rope_angles, "rope_angles_f32");
  f(&T::rope_half_split, "rope_half_split_f32");
  f(&T::rope_interleaved, "rope_interleaved_f32");
  f(&T::kv_write, "kv_write_f32_f32", "kv_write_f16_f32", "kv_write_bf16_f32");
  f(&T::attention, "attention_f32_f32_f32", "attention_f32_f32_f16", "attention_f32_f32_bf16");
  f(&T::silu_mul, "silu_mul_f32");
  f(&T::group_max, "group_max_f32");
  f(&T::collect, "collect_f32");
  f(&T::exp_weights, "exp_weights_f32");
  f(&T::read_all, "read_all");
  f(&T::fma_peak, "fma_peak");
  f(&T::madd_peak, "madd_peak");
}

constexpr std::size_t named_kernels() {
  std::size_t count = 0;
  each_member([&](auto, auto... names) { count += sizeof...(names); });
  return count;
}
// KernelTable holds pointers to functions and nothing else.
static_assert(named_kernels() * sizeof(void (*)()) == sizeof(KernelTable), "each_member must name every kernel");

template <class Function, std::size_t N>
std::array<Function*, N> functions(const std::array<Function*, N>& member) {
  return member;
}
template <class Function>
std::array<Function*, 1> functions(Function* member) {
  return {member};
}

std::string runnable() {
  std::string names;
  for (const Tier& t : tiers()) {
    if (t.available) names += (names.empty() ? "" : ", ") + t.name;
  }
  return names;
}

}  // namespace

const std::vector<Tier>& tiers() {
  static const std::vector<Tier> all = [] {
    std::vector<Tier> list;
    list.push_back({"scalar", true, scalar_table()});
#ifdef INFERNO_X86_TIERS
    const CpuFeatures& cpu = cpu_features();
    list.push_back({"avx2", cpu.avx2 && cpu.fma && cpu.f16c, avx2_table()});
#endif
    return list;
  }();
  return all;
}

std::vector<Variant> variants(const Tier& tier) {
  std::vector<Variant> found;
  each_member([&](auto member, auto... names) {
    const auto own = functions(tier.kernels.*member);
    std::size_t i = 0;
    for (const char* name : {names...}) {
      // A tier that replaces nothing has the pointer of the tier below, so the plainest that has it brought it.
      const auto brought = [&](const Tier& t) { return functions(t.kernels.*member)[i] == own[i]; };
      found.push_back({name, std::find_if(tiers().begin(), tiers().end(), brought)->name});
      ++i;
    }
  });
  return found;
}

const Tier& tier(const std::string& name) {
  const char* forced = std::getenv("INFERNO_ISA");
  const bool from_environment = name.empty() && forced != nullptr && *forced != '\0';
  const std::string wanted = from_environment ? forced : name;
  const Tier* best = nullptr;
  for (const Tier& t : tiers()) {
    if (t.available && (wanted.empty() || t.name == wanted)) best = &t;
  }
  if (best != nullptr) return *best;
  throw std::invalid_argument((from_environment ? "INFERNO_ISA=" : "isa=") + wanted + ": this CPU has no " + wanted +
                              " in this build; it can run " + runnable());
}

}  // namespace inferno

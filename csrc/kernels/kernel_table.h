// Which variant each tier uses. kernel_table.cpp is the one page that shows it.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "dtype.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/matmul.h"
#include "kernels/matmul_coded.h"
#include "kernels/matmul_int8.h"
#include "kernels/probe.h"
#include "kernels/quantize.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/round_e4m3.h"
#include "kernels/sampling.h"
#include "kernels/silu_mul.h"

namespace inferno {

// One function per stored type, in the order of DType: F32, F16, BF16.
template <class Function>
using PerDType = std::array<Function*, kDTypes>;
// In the order of CodeType.
template <class Function>
using PerCodeType = std::array<Function*, kCodeTypes>;

struct KernelTable {
  PerDType<kernels::Embedding> embedding;
  PerDType<kernels::RmsNorm> rmsnorm;
  kernels::Quantize* quantize;
  PerDType<kernels::RmsNormQuantize> rmsnorm_quantize;
  PerDType<kernels::MatMul> matmul;
  PerCodeType<kernels::MatMulCoded> matmul_coded;
  kernels::RoundE4M3* round_e4m3;
  std::array<kernels::MatMulInt8*, 2> matmul_int8;  // weights of CodeType kI8, kU8
  kernels::RopeAngles* rope_angles;
  kernels::Rope* rope_half_split;
  kernels::Rope* rope_interleaved;
  PerDType<kernels::KvWrite> kv_write;
  PerDType<kernels::Attention> attention;
  kernels::SiluMul* silu_mul;
  kernels::GroupMax* group_max;
  kernels::Collect* collect;
  kernels::ExpWeights* exp_weights;
  kernels::ReadAll* read_all;
  kernels::FmaPeak* fma_peak;
  kernels::MaddPeak* madd_peak;
};

struct Tier {
  std::string name;
  bool available;  // this CPU and OS can run it
  KernelTable kernels;
};

// Every tier in this build, plainest first. The last available one is the default.
const std::vector<Tier>& tiers();

struct Variant {
  const char* kernel;
  std::string tier;  // the one whose variant this is: the tier itself or one below
};

// Every kernel of a tier of tiers().
std::vector<Variant> variants(const Tier& tier);

// The tier of that name; empty: INFERNO_ISA if set, else the best. Throws std::invalid_argument on a name that is
// unknown or that this CPU cannot run, naming those it can.
const Tier& tier(const std::string& name);

}  // namespace inferno

// The scalar tier: every operation, written to be read. The other tiers are tested against the same oracle.
#pragma once

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

namespace inferno::kernels::scalar {

Embedding embedding_f32_f32, embedding_f32_f16, embedding_f32_bf16;
RmsNorm rmsnorm_f32_f32_f32, rmsnorm_f32_f32_f16, rmsnorm_f32_f32_bf16;
Quantize quantize_i8_f32;
RmsNormQuantize rmsnorm_i8_f32_f32, rmsnorm_i8_f32_f16, rmsnorm_i8_f32_bf16;
MatMulInt8 matmul_f32_i8_i8, matmul_f32_i8_u8;
MatMul matmul_f32_f32_f32, matmul_f32_f32_f16, matmul_f32_f32_bf16;
MatMulCoded matmul_f32_f32_i8, matmul_f32_f32_u8, matmul_f32_f32_u4, matmul_f32_f32_lut4, matmul_f32_f32_e4m3,
    matmul_f32_f32_gptq4, matmul_f32_f32_gptq8, matmul_f32_f32_awq4;
RoundE4M3 round_e4m3_f32;
RopeAngles rope_angles_f32;
Rope rope_half_split_f32, rope_interleaved_f32;
KvWrite kv_write_f32_f32, kv_write_f16_f32, kv_write_bf16_f32;
Attention attention_f32_f32_f32, attention_f32_f32_f16, attention_f32_f32_bf16;
SiluMul silu_mul_f32;
GroupMax group_max_f32;
Collect collect_f32;
ExpWeights exp_weights_f32;
ReadAll read_all;
FmaPeak fma_peak;
MaddPeak madd_peak;

}  // namespace inferno::kernels::scalar

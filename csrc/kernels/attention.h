// Causal grouped-query attention over a paged KV cache, and the write that fills it.
//
// A layer's cache is two arrays of blocks; a block holds kKvBlock consecutive positions of every KV head:
//   keys:    (blocks, kv_heads, head_dim, kKvBlock)    positions innermost: a query meets a whole block of keys in
//   values:  (blocks, kv_heads, kKvBlock, head_dim)    vector lanes and no sum crosses lanes
// Position p of a sequence lies in block block_table[p / kKvBlock], slot p % kKvBlock.
#pragma once

#include <cstddef>
#include <cstdint>

namespace inferno::kernels {

constexpr std::size_t kKvBlock = 32;
constexpr std::size_t kMaxHeadDim = 512;

// Stores one token's key and value of one KV head, rounded to the cache's type (nearest, ties to even).
//
// keys, values: that head in that token's block; slot < kKvBlock; key, value: (head_dim,).
using KvWrite = void(void* keys, void* values, std::size_t slot, const float* key, const float* value,
                     std::size_t head_dim);

// out[t, g, :] = sum_p softmax_p(scale * <q[t, g], key[p]>) value[p]    for p <= first_position + t
//
// For the `group` query heads that share one KV head and `tokens` consecutive positions of one sequence, whose keys and
// values (their own too) lie in the cache.
//
// Determinism: softmax runs online over the blocks of a segment of kKvSegment positions, and segments are folded
// together in order; both are aligned to absolute position, and summed in a fixed order. So a row's bits depend on its
// position alone: not on `tokens`, `group` or what else is in the batch, nor on whether one call computes the whole, or
// one call each segment and another folds them.
enum class AttentionPart {
  kWhole,    // out
  kSegment,  // `segment`, into its place in `partials`
  kFold,     // out, from the `segments` first ones in `partials`
};

constexpr std::size_t kKvSegment = 16 * kKvBlock;
// Rows, tokens * group, of a call that computes a part.
constexpr std::size_t kMaxPartRows = 32;

// Floats of a row in partials: head_dim weighted values, rounded up to 8, the largest score, the sum of weights.
constexpr std::size_t partial_floats(std::size_t head_dim) { return (head_dim + 7) / 8 * 8 + 8; }

struct AttentionArgs {
  float* out;  // (tokens, group, head_dim), token stride ldo
  std::size_t ldo;
  const float* q;  // (tokens, group, head_dim), token stride ldq
  std::size_t ldq;
  const void* keys;  // this KV head in block 0
  const void* values;
  std::size_t block_stride;  // elements from one block to the next: kv_heads * head_dim * kKvBlock
  const std::int32_t* block_table;
  std::size_t first_position, tokens, group, head_dim;  // head_dim <= kMaxHeadDim
  float scale;
  AttentionPart part;
  std::size_t segment, segments;
  float* partials;  // (segments, tokens * group, partial_floats(head_dim)); of kWhole none
  void* scratch;    // kAttentionScratchBytes, aligned to 64
};

constexpr std::size_t kAttentionScratchBytes = std::size_t{268} << 10;

using Attention = void(const AttentionArgs& args);

}  // namespace inferno::kernels

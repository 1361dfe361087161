// The step program: one forward pass as a list of operations over named buffers, recorded once, run in one call.
//
// Operations follow one another inside a single parallel region. A barrier stands only where an operation touches what
// an earlier one since the last barrier has written (or writes what it has read): what lies between two barriers is a
// stage, and its operations share one queue of work items. Which thread runs an item changes no bit of the result.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels/kernel_table.h"
#include "kernels/quantize.h"
#include "thread_pool.h"

namespace inferno {

// Consecutive tokens of one sequence. block_table[p / kKvBlock] is the cache block of position p.
struct Span {
  std::size_t first_token;
  std::size_t tokens;
  std::size_t first_position;
  const std::int32_t* block_table;
  std::size_t blocks;  // entries of block_table
};

// What one run works on. Pointers stay the caller's.
struct Batch {
  const std::int32_t* token_ids = nullptr;
  std::size_t tokens = 0;
  std::vector<Span> sequences;
  const std::int32_t* output_rows = nullptr;  // tokens whose logits are wanted, each < tokens
  std::size_t outputs = 0;
};

struct Step {
  const Batch& batch;
  std::vector<std::int32_t> positions;  // of each token
  std::vector<Span> tiles;              // the sequences, cut so that one attention item is not too long
  std::vector<float*> buffers;
  float* shared = nullptr;                         // as many floats as the operation that asks for the most
  std::atomic<std::uint32_t>* counters = nullptr;  // likewise; each is 0 between two stages

  float* buffer(std::size_t id) const { return buffers[id]; }
};

// A buffer (by its number) or an array outside the program (by its address) that operations read and write.
using Resource = std::uintptr_t;

// Stands for Step::shared and Step::counters: operations that use them are kept apart by it.
constexpr Resource kShared = ~Resource{0};

class Operation {
 public:
  virtual ~Operation() = default;
  virtual const char* name() const = 0;
  virtual std::vector<Resource> reads() const = 0;
  virtual std::vector<Resource> writes() const = 0;
  // Throws std::invalid_argument if this batch would make the operation read or write out of bounds.
  virtual void check(const Batch&) const {}
  // Floats of Step::shared that it needs for this batch, and counters. An operation that needs some writes kShared.
  virtual std::pair<std::size_t, std::size_t> shared(const Step&) const { return {0, 0}; }
  virtual std::size_t items(const Step& step) const = 0;
  virtual void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const = 0;
};

enum class Rows { kTokens, kOutputs };

// What a buffer's rows are: float32, or codes as kernels/quantize.h lays them out, with or without room for outliers.
enum class Holds { kFloats, kCodes, kCodesAndOutliers };

struct Buffer {
  std::string name;
  Rows rows;
  std::size_t width;  // columns
  Holds holds;

  std::size_t row_floats() const {
    if (holds == Holds::kFloats) return width;
    return quantized_row_bytes(width, holds == Holds::kCodesAndOutliers) / sizeof(float);
  }
};

// Where the time of a run went, in nanoseconds.
struct Profile {
  std::size_t threads = 0;
  std::vector<std::uint64_t> busy;    // (threads, operations): inside the operation's items
  std::vector<std::uint64_t> stages;  // of each stage of the program, until all threads have left its barrier
  std::vector<std::size_t> stage_of;  // of each operation
};

class Program {
 public:
  explicit Program(const Tier& tier) : tier_(tier) {}

  const Tier& tier() const { return tier_; }
  const KernelTable& kernels() const { return tier_.kernels; }

  std::size_t add_buffer(std::string name, Rows rows, std::size_t width, Holds holds = Holds::kFloats);
  // Throws std::invalid_argument if there is none of that name.
  std::size_t find(const std::string& name) const;
  const Buffer& buffer(std::size_t id) const { return buffers_[id]; }
  std::size_t buffer_rows(std::size_t id) const;  // in the last run; 0 before it
  const float* contents(std::size_t id) const { return memory_[id].get(); }

  void add(std::unique_ptr<Operation> operation);
  std::size_t size() const { return operations_.size(); }
  // Parallel regions of the last run: one, and one more for each pause.
  std::size_t regions() const { return regions_; }
  std::size_t stages() const { return stages_.size(); }
  const Operation& operation(std::size_t i) const { return *operations_[i]; }
  std::size_t workspace_bytes() const;

  // Runs operations [first, last). Buffers keep their contents until the next run of a larger batch.
  //
  // A long run leaves the parallel region at a barrier about every kSlice and calls `interrupted`: true ends the run
  // there, and run() returns false. It is called outside the region because it may wait for locks (Python's, say).
  // `profile`, if given, is filled; reading the clock at each piece of work costs some tenths of a percent.
  bool run(const Batch& batch, std::size_t first, std::size_t last, std::size_t threads,
           const std::function<bool()>& interrupted, Profile* profile = nullptr);

 private:
  struct Stage {
    std::size_t first, last;
    std::vector<Resource> reads, writes;
  };
  struct Free {
    void operator()(float* p) const;
  };
  using Memory = std::unique_ptr<float[], Free>;

  static Memory allocate(std::size_t floats);
  Step prepare(const Batch& batch);
  void check(const Batch& batch, std::size_t first, std::size_t last) const;
  std::size_t work(const Step& step, const std::vector<Stage>& stages, std::size_t begin, const Worker& worker,
                   Profile* profile);
  void run_stage(const Step& step, const Stage& stage, std::atomic<std::size_t>& next, const Worker& worker,
                 std::uint64_t* busy) const;
  std::size_t rows_of(const Buffer& buffer, const Batch& batch) const;

  const Tier& tier_;
  std::vector<Buffer> buffers_;
  std::unordered_map<std::string, std::size_t> names_;
  std::vector<Memory> memory_;
  std::vector<std::size_t> capacity_;  // floats
  Memory shared_;
  std::size_t shared_capacity_ = 0, counter_count_ = 0;
  std::unique_ptr<std::atomic<std::uint32_t>[]> counters_;
  std::size_t regions_ = 0;
  std::size_t last_tokens_ = 0, last_outputs_ = 0;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<Stage> stages_;
  std::unique_ptr<std::atomic<std::size_t>[]> queues_;  // next item of each stage in a run
  std::atomic<std::size_t> pause_{0};                   // the stage after which all threads leave the region
  std::size_t queue_count_ = 0;
};

}  // namespace inferno

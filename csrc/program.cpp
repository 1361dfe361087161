#include "program.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace inferno {
namespace {

// Tokens of one attention item. They share each widened block of the cache; longer ones leave threads idle at the end.
constexpr std::size_t kTileTokens = 16;
// A thread takes this part of its share of what is left: large pieces first, for each begins with cold streams, and
// single items in the end, so that threads finish together, also those that were held up.
constexpr std::size_t kShare = 3;
// Tokens are counted in 31 bits: with rows of fewer floats than this, no size of a buffer in bytes overflows.
constexpr std::size_t kMaxWidth = std::size_t{1} << 30;

using Clock = std::chrono::steady_clock;

// How long a run goes on before it looks up: Ctrl-C should not wait for a long prompt, and a token should not notice.
constexpr std::chrono::milliseconds kSlice{200};

std::uint64_t nanoseconds(Clock::duration d) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(d).count());
}

bool overlap(const std::vector<Resource>& a, const std::vector<Resource>& b) {
  return std::any_of(a.begin(), a.end(), [&](Resource r) { return std::find(b.begin(), b.end(), r) != b.end(); });
}

void append(std::vector<Resource>& to, const std::vector<Resource>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

std::string at(std::size_t sequence) { return "program: sequence " + std::to_string(sequence) + ": "; }

}  // namespace

void Program::Free::operator()(float* p) const { std::free(p); }

Program::Memory Program::allocate(std::size_t floats) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, floats * sizeof(float)) != 0) throw std::bad_alloc();
  return Memory(static_cast<float*>(memory));
}

std::size_t Program::add_buffer(std::string name, Rows rows, std::size_t width, Holds holds) {
  if (width == 0 || width >= kMaxWidth || Buffer{"", rows, width, holds}.row_floats() >= kMaxWidth) {
    throw std::invalid_argument("program: buffer " + name + " must be at least 1 and less than " +
                                std::to_string(kMaxWidth) + " wide; got " + std::to_string(width));
  }
  if (!names_.emplace(name, buffers_.size()).second) {
    throw std::invalid_argument("program: there is already a buffer named " + name);
  }
  buffers_.push_back({std::move(name), rows, width, holds});
  memory_.emplace_back();
  capacity_.push_back(0);
  return buffers_.size() - 1;
}

std::size_t Program::find(const std::string& name) const {
  const auto found = names_.find(name);
  if (found == names_.end()) throw std::invalid_argument("program: there is no buffer named " + name);
  return found->second;
}

std::size_t Program::rows_of(const Buffer& buffer, const Batch& batch) const {
  return buffer.rows == Rows::kTokens ? batch.tokens : batch.outputs;
}

std::size_t Program::buffer_rows(std::size_t id) const {
  if (memory_[id] == nullptr) return 0;
  return buffers_[id].rows == Rows::kTokens ? last_tokens_ : last_outputs_;
}

std::size_t Program::workspace_bytes() const {
  std::size_t floats = shared_capacity_;
  for (std::size_t n : capacity_) floats += n;
  return floats * sizeof(float);
}

void Program::add(std::unique_ptr<Operation> operation) {
  const auto reads = operation->reads(), writes = operation->writes();
  const std::size_t index = operations_.size();
  if (stages_.empty() || overlap(reads, stages_.back().writes) || overlap(writes, stages_.back().writes) ||
      overlap(writes, stages_.back().reads)) {
    stages_.push_back({index, index, {}, {}});
  }
  Stage& stage = stages_.back();
  stage.last = index + 1;
  append(stage.reads, reads);
  append(stage.writes, writes);
  operations_.push_back(std::move(operation));
}

void Program::check(const Batch& batch, std::size_t first, std::size_t last) const {
  if (batch.tokens == 0) throw std::invalid_argument("program: a batch must hold at least one token; got none");
  std::size_t covered = 0;
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const Span& span = batch.sequences[s];
    if (span.tokens == 0) throw std::invalid_argument(at(s) + "must have at least one token; got none");
    const std::size_t end = span.first_position + span.tokens;
    if (end > span.blocks * kernels::kKvBlock) {
      throw std::invalid_argument(at(s) + "block table must cover " + std::to_string(end) + " positions; got " +
                                  std::to_string(span.blocks * kernels::kKvBlock));
    }
    covered += span.tokens;
  }
  if (covered != batch.tokens) {
    throw std::invalid_argument("program: sequences must cover " + std::to_string(batch.tokens) + " tokens; got " +
                                std::to_string(covered));
  }
  for (std::size_t r = 0; r < batch.outputs; ++r) {
    if (batch.output_rows[r] < 0 || static_cast<std::size_t>(batch.output_rows[r]) >= batch.tokens) {
      throw std::invalid_argument("program: output rows must be in [0, " + std::to_string(batch.tokens) + "); got " +
                                  std::to_string(batch.output_rows[r]));
    }
  }
  for (std::size_t i = first; i < last; ++i) operations_[i]->check(batch);
}

Step Program::prepare(const Batch& batch) {
  Step step{batch, {}, {}, {}, nullptr, nullptr};
  for (const Span& span : batch.sequences) {
    for (std::size_t t = 0; t < span.tokens; ++t) {
      step.positions.push_back(static_cast<std::int32_t>(span.first_position + t));
    }
    for (std::size_t t = 0; t < span.tokens; t += kTileTokens) {
      step.tiles.push_back({span.first_token + t, std::min(kTileTokens, span.tokens - t), span.first_position + t,
                            span.block_table, span.blocks});
    }
  }
  // The latest tiles see the most positions: started first, they leave the short ones to even out the threads.
  std::reverse(step.tiles.begin(), step.tiles.end());
  for (std::size_t b = 0; b < buffers_.size(); ++b) {
    const std::size_t floats = rows_of(buffers_[b], batch) * buffers_[b].row_floats();
    if (floats > capacity_[b]) {
      memory_[b].reset();
      capacity_[b] = 0;
      memory_[b] = allocate(floats);
      // Codes that no operation has written yet are read by their count of outliers.
      if (buffers_[b].holds != Holds::kFloats) std::memset(memory_[b].get(), 0, floats * sizeof(float));
      capacity_[b] = floats;
    }
    step.buffers.push_back(memory_[b].get());
  }
  std::size_t floats = 0, counters = 0;
  for (const auto& operation : operations_) {
    const auto [some, more] = operation->shared(step);
    floats = std::max(floats, some);
    counters = std::max(counters, more);
  }
  if (floats > shared_capacity_) {
    shared_.reset();
    shared_capacity_ = 0;
    shared_ = allocate(floats);
    shared_capacity_ = floats;
  }
  if (counters > counter_count_) {
    counters_.reset(new std::atomic<std::uint32_t>[counters]());
    counter_count_ = counters;
  }
  if (floats > 0) step.shared = shared_.get();
  step.counters = counters_.get();
  last_tokens_ = batch.tokens;
  last_outputs_ = batch.outputs;
  return step;
}

void Program::run_stage(const Step& step, const Stage& stage, std::atomic<std::size_t>& next, const Worker& worker,
                        std::uint64_t* busy) const {
  std::size_t total = 0;
  for (std::size_t i = stage.first; i < stage.last; ++i) total += operations_[i]->items(step);
  std::size_t begin = next.load(std::memory_order_relaxed);
  while (begin < total) {
    const std::size_t left = total - begin;
    const std::size_t piece = worker.threads == 1 ? left : std::max<std::size_t>(1, left / (worker.threads * kShare));
    if (!next.compare_exchange_weak(begin, begin + piece, std::memory_order_relaxed)) continue;
    std::size_t end = begin + piece;
    for (std::size_t i = stage.first; i < stage.last && end > 0; ++i) {
      const std::size_t items = operations_[i]->items(step);
      if (begin < items) {
        const auto start = busy != nullptr ? Clock::now() : Clock::time_point{};
        operations_[i]->run(step, begin, std::min(end, items), worker);
        if (busy != nullptr) busy[i] += nanoseconds(Clock::now() - start);
      }
      begin = begin > items ? begin - items : 0;
      end = end > items ? end - items : 0;
    }
    begin = next.load(std::memory_order_relaxed);
  }
}

// Runs stages from `begin` on, until the end or a pause; returns the first stage that was not run.
std::size_t Program::work(const Step& step, const std::vector<Stage>& stages, std::size_t begin, const Worker& worker,
                          Profile* profile) {
  auto begun = Clock::now();
  const auto deadline = begun + kSlice;
  std::uint64_t* busy = profile != nullptr ? profile->busy.data() + worker.thread * operations_.size() : nullptr;
  const auto note = [&](std::size_t s) {
    if (profile == nullptr || worker.thread != 0) return;
    const auto now = Clock::now();
    profile->stages[profile->stage_of[stages[s].first]] += nanoseconds(now - begun);
    begun = now;
  };
  for (std::size_t s = begin;; ++s) {
    run_stage(step, stages[s], queues_[s], worker, busy);
    if (s + 1 == stages.size()) {
      note(s);
      return s + 1;
    }
    // Named by its number: a thread that comes late from this barrier may already find the next pause here.
    if (worker.thread == 0 && Clock::now() >= deadline) pause_.store(s, std::memory_order_relaxed);
    ThreadPool::instance().barrier(worker);
    note(s);
    if (pause_.load(std::memory_order_relaxed) == s) return s + 1;
  }
}

bool Program::run(const Batch& batch, std::size_t first, std::size_t last, std::size_t threads,
                  const std::function<bool()>& interrupted, Profile* profile) {
  check(batch, first, last);
  const Step step = prepare(batch);
  std::vector<Stage> stages;
  for (const Stage& stage : stages_) {
    const std::size_t begin = std::max(first, stage.first), end = std::min(last, stage.last);
    if (begin < end) stages.push_back({begin, end, {}, {}});
  }
  if (queue_count_ < stages.size()) {
    queue_count_ = stages.size();
    queues_.reset(new std::atomic<std::size_t>[queue_count_]);
  }
  for (std::size_t s = 0; s < stages.size(); ++s) queues_[s].store(0, std::memory_order_relaxed);
  if (profile != nullptr) {
    *profile = {threads,
                std::vector<std::uint64_t>(threads * operations_.size()),
                std::vector<std::uint64_t>(stages_.size()),
                {}};
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      profile->stage_of.resize(stages_[s].last, s);
    }
  }
  struct Context {
    Program* program;
    const Step* step;
    const std::vector<Stage>* stages;
    std::size_t begin;  // the first stage of this region
    std::size_t next;   // the first that has not run
    Profile* profile;
  } context{this, &step, &stages, 0, 0, profile};
  regions_ = 0;
  while (context.next < stages.size()) {
    if (context.next > 0 && interrupted()) return false;
    context.begin = context.next;
    ++regions_;
    pause_.store(stages.size(), std::memory_order_relaxed);
    ThreadPool::instance().run(
        threads,
        [](void* raw, const Worker& worker) {
          auto& c = *static_cast<Context*>(raw);
          const std::size_t next = c.program->work(*c.step, *c.stages, c.begin, worker, c.profile);
          if (worker.thread == 0) c.next = next;
        },
        &context);
  }
  return true;
}

}  // namespace inferno

// The only place that starts threads.
//
// One pool serves the whole process. A parallel region runs one function on n threads, the caller being thread 0.
// Workers spin for a bounded time between regions, then sleep. After fork() the child makes its own workers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace inferno {

// Lets threads wait for a value to change: first spinning, then asleep.
class Gate {
 public:
  std::uint64_t value() const { return value_.load(std::memory_order_seq_cst); }
  void set(std::uint64_t value);                 // wakes every sleeper
  std::uint64_t wait_while(std::uint64_t seen);  // returns the value once it is not `seen`

 private:
  std::atomic<std::uint64_t> value_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable condition_;
};

// What a thread may use inside a region.
struct Worker {
  std::size_t thread;  // 0 .. threads - 1
  std::size_t threads;
  std::byte* scratch;  // kScratchBytes, aligned to 64, this thread's alone
};

constexpr std::size_t kScratchBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxThreads = 1024;

class ThreadPool {
 public:
  // The process's pool. Never destroyed: at exit sleeping workers end with the process.
  static ThreadPool& instance();

  using Body = void (*)(void* context, const Worker& worker);

  // Runs body on `threads` threads (1 .. kMaxThreads) and returns when all have. Regions of several callers take turns.
  // The body must not throw and must not start a region.
  void run(std::size_t threads, Body body, void* context);

  // Inside a region: returns when all its threads have called it.
  void barrier(const Worker& worker);

 private:
  struct State;
  ThreadPool();
  State& ready(std::size_t threads);

  std::mutex region_;
  std::unique_ptr<State> state_;
};

}  // namespace inferno

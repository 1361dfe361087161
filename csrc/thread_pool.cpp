#include "thread_pool.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "float_environment.h"

#if defined(__x86_64__)
#  include <immintrin.h>
#endif

namespace inferno {
namespace {

// A few hundred microseconds of pauses: longer than Python's own work between two tokens, short enough to leave no
// heat.
constexpr int kSpins = 4000;
// Past this many pauses each spin also offers its time slice: with more threads than CPUs the one awaited must run.
constexpr int kPolite = 200;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

std::byte* new_scratch() {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, kScratchBytes) != 0) throw std::bad_alloc();
  return static_cast<std::byte*>(memory);
}

}  // namespace

void Gate::set(std::uint64_t value) {
  value_.store(value, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  condition_.notify_all();
}

std::uint64_t Gate::wait_while(std::uint64_t seen) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (const std::uint64_t now = value(); now != seen) return now;
    relax();
    if (spin >= kPolite && spin % 16 == 0) std::this_thread::yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  // Counted before the value is read again: set() either sees the sleeper or is seen by it.
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  std::uint64_t now;
  condition_.wait(lock, [&] { return (now = value()) != seen; });
  sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  return now;
}

struct ThreadPool::State {
  pid_t process = getpid();
  Gate start;       // region number * 2^16 + its threads: a worker learns both in one read
  Gate rendezvous;  // counts barriers
  std::atomic<std::size_t> arrived{0};

  // Written before `start` changes, read by the region's threads alone; the region cannot end without them.
  Body body = nullptr;
  void* context = nullptr;

  std::vector<std::byte*> scratch;  // one per thread of the largest region so far
  std::size_t workers = 0;

  void work(std::size_t thread, std::uint64_t seen) {
    const DefaultFloatEnvironment environment;
    for (;;) {
      seen = start.wait_while(seen);
      const std::size_t threads = seen & 0xffff;
      if (thread >= threads) continue;
      const Worker worker{thread, threads, scratch[thread]};
      body(context, worker);
      meet(worker);
    }
  }

  void meet(const Worker& worker) {
    const std::uint64_t seen = rendezvous.value();
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == worker.threads) {
      arrived.store(0, std::memory_order_relaxed);
      rendezvous.set(seen + 1);
    } else {
      rendezvous.wait_while(seen);
    }
  }
};
static_assert(kMaxThreads < 0x10000);

ThreadPool::ThreadPool() = default;

ThreadPool& ThreadPool::instance() {
  static ThreadPool* const pool = [] {
    // A fork in the middle of another thread's region must not leave the child's region lock held.
    pthread_atfork([] { instance().region_.lock(); }, [] { instance().region_.unlock(); },
                   [] { instance().region_.unlock(); });
    return new ThreadPool;
  }();
  return *pool;
}

ThreadPool::State& ThreadPool::ready(std::size_t threads) {
  // fork() copies the state but not the threads: the child leaves the old state alone and starts afresh.
  if (state_ && state_->process != getpid()) (void)state_.release();
  if (!state_) state_.reset(new State);
  State& state = *state_;
  while (state.scratch.size() < threads) {
    // Grown before the worker that will use it starts; workers read it only inside regions, which take turns.
    state.scratch.push_back(new_scratch());
  }
  while (state.workers + 1 < threads) {
    const std::size_t thread = state.workers + 1;
    const std::uint64_t seen = state.start.value();
    std::thread([&state, thread, seen] { state.work(thread, seen); }).detach();
    ++state.workers;
  }
  return state;
}

void ThreadPool::run(std::size_t threads, Body body, void* context) {
  std::lock_guard<std::mutex> turn(region_);
  const DefaultFloatEnvironment environment;
  State& state = ready(threads);
  state.body = body;
  state.context = context;
  const Worker caller{0, threads, state.scratch[0]};
  if (threads > 1) state.start.set(((state.start.value() >> 16) + 1) << 16 | threads);
  body(context, caller);
  if (threads > 1) state.meet(caller);
}

void ThreadPool::barrier(const Worker& worker) {
  if (worker.threads > 1) state_->meet(worker);
}

}  // namespace inferno

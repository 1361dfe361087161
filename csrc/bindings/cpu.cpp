// What this CPU can run and how fast it is at best.
#include <algorithm>
#include <chrono>

#include "bindings/bindings.h"
#include "cpu_features.h"

namespace inferno::bindings {
namespace {

constexpr const char* kDefaultPattern = "4-streams";

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::size_t checked_threads(py::ssize_t threads, const char* where) {
  require(threads >= 1 && threads <= static_cast<py::ssize_t>(kMaxThreads),
          std::string(where) + ": threads must be in [1, " + std::to_string(kMaxThreads) + "]; got " +
              std::to_string(threads));
  return static_cast<std::size_t>(threads);
}

const kernels::ReadPattern& find_pattern(const std::string& name, const std::string& where) {
  std::string known;
  for (const kernels::ReadPattern& pattern : kernels::kReadPatterns) {
    if (name == pattern.name) return pattern;
    known += (known.empty() ? "" : ", ") + std::string(pattern.name);
  }
  throw std::invalid_argument(where + ": pattern must be one of " + known + "; got " + name);
}

// Bytes per second at which `threads` threads read `data` once, in interleaved pieces of 1 MiB.
double read_bandwidth(const py::array& data, py::ssize_t threads, const std::string& pattern, const std::string& isa) {
  const std::size_t n = checked_threads(threads, "read_bandwidth");
  require(contiguous(data), "read_bandwidth: data must be contiguous; got " + describe(data));
  require(data.nbytes() > 0, "read_bandwidth: data must hold at least one byte; got none");
  struct Context {
    kernels::ReadAll* read;
    const kernels::ReadPattern& pattern;
    const char* data;
    std::size_t bytes;
    std::atomic<std::uint64_t> sink{0};
  } context{tier(isa).kernels.read_all, find_pattern(pattern, "read_bandwidth"), static_cast<const char*>(data.data()),
            static_cast<std::size_t>(data.nbytes())};
  py::gil_scoped_release nogil;
  const auto start = Clock::now();
  ThreadPool::instance().run(
      n,
      [](void* raw, const Worker& w) {
        auto& c = *static_cast<Context*>(raw);
        constexpr std::size_t kPiece = std::size_t{1} << 20;
        std::uint64_t all = 0;
        for (std::size_t begin = w.thread * kPiece; begin < c.bytes; begin += w.threads * kPiece) {
          all ^= c.read(c.data + begin, std::min(kPiece, c.bytes - begin), c.pattern);
        }
        c.sink ^= all;
      },
      &context);
  return static_cast<double>(context.bytes) / seconds_since(start);
}

std::uint64_t read_all(const py::array& data, const std::string& pattern, const std::string& isa) {
  require(contiguous(data), "read_all: data must be contiguous; got " + describe(data));
  return tier(isa).kernels.read_all(data.data(), static_cast<std::size_t>(data.nbytes()),
                                    find_pattern(pattern, "read_all"));
}

// Multiply-adds per second of `threads` threads, in registers.
template <class Number, class Peak>
double peak(Peak* kernel, std::size_t threads, std::uint64_t rounds) {
  struct Context {
    Peak* peak;
    std::uint64_t rounds;
    std::atomic<std::uint64_t> done{0};
  } context{kernel, rounds};
  py::gil_scoped_release nogil;
  const auto start = Clock::now();
  ThreadPool::instance().run(
      threads,
      [](void* raw, const Worker&) {
        auto& c = *static_cast<Context*>(raw);
        Number sink;
        c.done += c.peak(c.rounds, &sink);
      },
      &context);
  return static_cast<double>(context.done.load()) / seconds_since(start);
}

double fma_peak(py::ssize_t threads, std::uint64_t rounds, const std::string& isa) {
  const std::size_t n = checked_threads(threads, "fma_peak");
  return peak<float>(tier(isa).kernels.fma_peak, n, rounds);
}

double madd_peak(py::ssize_t threads, std::uint64_t rounds, const std::string& isa) {
  const std::size_t n = checked_threads(threads, "madd_peak");
  return peak<std::int32_t>(tier(isa).kernels.madd_peak, n, rounds);
}

}  // namespace

void bind_cpu(py::module_& m) {
  m.def("cpu_features", [] {
    py::dict found;
    for (const NamedFeature& feature : named_features()) found[feature.name] = feature.found;
    return found;
  });
  m.def("tiers", [] {
    py::dict all;
    for (const Tier& t : tiers()) all[py::str(t.name)] = t.available;
    return all;
  });
  m.def("choose_tier", [](const std::string& isa) { return tier(isa).name; }, py::arg("isa") = "");
  m.def("kernel_variants", [] {
    py::dict all;
    for (const Tier& t : tiers()) {
      py::dict kernels;
      for (const Variant& variant : variants(t)) kernels[py::str(variant.kernel)] = variant.tier;
      all[py::str(t.name)] = kernels;
    }
    return all;
  });
  py::list patterns;
  for (const kernels::ReadPattern& pattern : kernels::kReadPatterns) patterns.append(pattern.name);
  m.attr("READ_PATTERNS") = py::tuple(patterns);
  m.def("read_bandwidth", &read_bandwidth, py::arg("data"), py::kw_only(), py::arg("threads"),
        py::arg("pattern") = kDefaultPattern, py::arg("isa") = "");
  m.def("read_all", &read_all, py::arg("data"), py::kw_only(), py::arg("pattern") = kDefaultPattern,
        py::arg("isa") = "");
  m.def("fma_peak", &fma_peak, py::kw_only(), py::arg("threads"), py::arg("rounds"), py::arg("isa") = "");
  m.def("madd_peak", &madd_peak, py::kw_only(), py::arg("threads"), py::arg("rounds"), py::arg("isa") = "");
}

}  // namespace inferno::bindings

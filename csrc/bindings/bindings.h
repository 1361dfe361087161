// One function per file of this folder: it binds an operation twice, as a plain function (one thread, any tier; for
// tests and benches) and as a method of Program that records it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/checks.h"
#include "program.h"

namespace inferno::bindings {

using MaybeArray = std::optional<py::array>;
using MaybeName = std::optional<std::string>;

// A program and the arrays that its operations point into.
struct BoundProgram {
  explicit BoundProgram(const Tier& tier) : program(tier) {}

  // The number of a buffer, checked to be `width` floats wide (0: any).
  std::size_t find(const std::string& name, std::size_t width, const std::string& what) const;
  // The same for a buffer of codes.
  std::size_t find_quantized(const std::string& name, std::size_t width, const std::string& what) const;
  // As find, and it has a row for each token.
  std::size_t find_tokens(const std::string& name, std::size_t width, const std::string& what) const;

  template <class Op>
  void add(Op op, std::initializer_list<py::object> arrays) {
    const Busy turn(*this, "recording");
    keep.insert(keep.end(), arrays.begin(), arrays.end());
    program.add(std::make_unique<Op>(std::move(op)));
  }

  // Holds the program while it runs, is recorded or read. Python threads share no program at once: the second gets an
  // error.
  class Busy {
   public:
    Busy(const BoundProgram& owner, const char* what);
    ~Busy() { owner_.busy.clear(); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    const BoundProgram& owner_;
  };

  Program program;
  std::vector<py::object> keep;
  mutable std::atomic_flag busy = ATOMIC_FLAG_INIT;
};

using ProgramClass = py::class_<BoundProgram>;

// Memory for a plain call, as a worker of the pool would have it.
class Scratch {
 public:
  Scratch();
  void* get() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> memory_;
};

void bind_cpu(py::module_& m);
void bind_program(ProgramClass& program);
void bind_embedding(py::module_& m, ProgramClass& program);
void bind_rmsnorm(py::module_& m, ProgramClass& program);
void bind_coded(py::module_& m);
void bind_matmul(py::module_& m, ProgramClass& program);
void bind_matmul_coded(py::module_& m, ProgramClass& program);
void bind_round_e4m3(py::module_& m, ProgramClass& program);
void bind_matmul_int8(py::module_& m, ProgramClass& program);
void bind_quantize(py::module_& m, ProgramClass& program);
void bind_rope(py::module_& m, ProgramClass& program);
void bind_attention(py::module_& m, ProgramClass& program);
void bind_silu_mul(py::module_& m);
void bind_sampling(py::module_& m);
void bind_sampler(py::module_& m);
void bind_select_rows(ProgramClass& program);

}  // namespace inferno::bindings

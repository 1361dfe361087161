// What every matrix product takes beside x and its weight, checked alike: out's columns that are wanted, the epilogue.
#pragma once

#include <algorithm>

#include "bindings/bindings.h"
#include "kernels/matmul.h"

namespace inferno::bindings {

// What messages call a product and its weight: "matmul" and "w".
struct ProductNames {
  const char* product;
  const char* weight;
  std::string of(const char* argument) const { return std::string(product) + ": " + argument; }
};

// Of a plain product: gate and residual may be out; out shares no memory with anything else.
kernels::Epilogue checked_epilogue(const py::array& out, const MaybeArray& bias, const MaybeArray& gate,
                                   const MaybeArray& residual, const ProductNames& names);

// The end of the columns, of n, that are wanted.
std::size_t checked_end(std::size_t n_begin, const std::optional<std::size_t>& n_end, std::size_t n,
                        const ProductNames& names);

// A product over buffers of a program.
struct RecordedProduct {
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  std::size_t out, x, n;
  Rows rows;
  Stored bias;
  std::size_t gate, residual;  // buffers, or kNone
  std::size_t columns;         // of out in a work item

  std::vector<Resource> reads() const;
  std::size_t items() const { return (n + columns - 1) / columns; }

  // What the arguments of all products have in common, for items [begin, end).
  template <class Args>
  void set(Args& a, const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const {
    a.out = step.buffer(out);
    a.ldo = n;
    a.x = step.buffer(x);
    a.m = rows == Rows::kTokens ? step.batch.tokens : step.batch.outputs;
    a.n_begin = begin * columns;
    a.n_end = std::min(end * columns, n);
    a.epilogue.bias = bias.data;
    a.epilogue.bias_dtype = bias.dtype;
    if (gate != kNone) a.epilogue.gate = step.buffer(gate);
    if (residual != kNone) a.epilogue.residual = step.buffer(residual);
    a.epilogue.ldg = a.epilogue.ldr = n;
    a.scratch = worker.scratch;
  }
};

// x is a buffer that has been checked already.
RecordedProduct recorded_product(const BoundProgram& self, const std::string& out, std::size_t x, std::size_t n,
                                 const MaybeArray& bias, const MaybeName& gate, const MaybeName& residual,
                                 std::size_t columns, const ProductNames& names);

}  // namespace inferno::bindings

// Rows of codes (kernels/quantize.h) as arguments: uint8 arrays that quantized_rows made.
#pragma once

#include "bindings/checks.h"
#include "kernels/quantize.h"

namespace inferno::bindings {

// Row i of a buffer of rows of k codes.
inline void* quantized_row(void* rows, std::size_t i, std::size_t k, const Quantization& how) {
  return static_cast<char*>(rows) + i * quantized_row_bytes(k, how.threshold > 0);
}

// The data of an array of `rows` rows for k codes, at a multiple of 64.
inline const void* quantized_data(const py::array& a, py::ssize_t rows, py::ssize_t k, bool outliers,
                                  const std::string& what) {
  const auto bytes = static_cast<py::ssize_t>(quantized_row_bytes(static_cast<std::size_t>(k), outliers));
  require(py::isinstance<py::array_t<std::uint8_t>>(a) && a.ndim() == 2 && contiguous(a) &&
              reinterpret_cast<std::uintptr_t>(a.data()) % 64 == 0,
          what + " must be what quantized_rows makes; got " + describe(a));
  require_shape(a, {rows, bytes}, what, "x, k and outliers");
  return a.data();
}

// Requires that the outliers of every row lie in it.
inline void check_outliers(const void* rows, std::size_t count, std::size_t k, const std::string& what) {
  for (std::size_t i = 0; i < count; ++i) {
    const auto& row =
        *reinterpret_cast<const QuantizedRow*>(static_cast<const char*>(rows) + i * quantized_row_bytes(k, true));
    const auto inside = [&](std::int32_t n, std::size_t end) { return n >= 0 && static_cast<std::size_t>(n) < end; };
    bool right = inside(row.outliers, k + 1);
    for (std::int32_t o = 0; right && o < row.outliers; ++o) right = inside(row.outlier_list(k)[o].column, k);
    require(right,
            what + " must hold rows that quantize has filled; got outliers past the end of row " + std::to_string(i));
  }
}

inline void* quantized_out(py::array& a, py::ssize_t rows, py::ssize_t k, bool outliers, const std::string& what) {
  quantized_data(a, rows, k, outliers, what);
  require(a.writeable(), what + " must be writeable; got a read-only array");
  return a.mutable_data();
}

}  // namespace inferno::bindings

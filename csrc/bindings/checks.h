// The gate for arguments: every array is checked here, once, before a kernel sees a pointer. No cast, no copy.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "dtype.h"

namespace py = pybind11;

namespace inferno::bindings {

// Throws std::invalid_argument with this message unless ok.
void require(bool ok, const std::string& message);

inline bool contiguous(const py::array& a) { return (a.flags() & py::array::c_style) != 0; }

// "(2, 8) float32", for messages.
std::string describe(const py::array& a);

// A number as Python writes it, for messages.
std::string text(double value);

// A read-only array of stored elements: float32, float16, or uint16 (BF16), C-contiguous, at any alignment.
struct Stored {
  const void* data;
  DType dtype;
};
Stored stored(const py::array& a, const std::string& what);

// The data of a C-contiguous, aligned array of `ndim` dimensions.
const float* f32(const py::array& a, py::ssize_t ndim, const std::string& what);
const std::int32_t* i32(const py::array& a, py::ssize_t ndim, const std::string& what);
float* f32_out(py::array& a, py::ssize_t ndim, const std::string& what);
std::int32_t* i32_out(py::array& a, py::ssize_t ndim, const std::string& what);
std::uint64_t* u64_out(py::array& a, py::ssize_t ndim, const std::string& what);
void* stored_out(py::array& a, py::ssize_t ndim, const std::string& what, DType* dtype);

// Requires the shape `expected`, naming the other array that asks for it.
void require_shape(const py::array& a, std::initializer_list<py::ssize_t> expected, const std::string& what,
                   const std::string& why);

// Requires that `out` (`what`), which a function writes, shares no memory with `other` (`name`), which it reads. Both
// are contiguous.
void require_apart(const py::array& out, const py::array& other, const std::string& what, const std::string& name);

// The same, but for `other` being out itself: where a function may work in place.
void require_apart_or_same(const py::array& out, const py::array& other, const std::string& what,
                           const std::string& name);

inline std::size_t dim(const py::array& a, py::ssize_t axis) { return static_cast<std::size_t>(a.shape(axis)); }

}  // namespace inferno::bindings

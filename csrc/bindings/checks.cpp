#include "bindings/checks.h"

#include <algorithm>
#include <stdexcept>

namespace inferno::bindings {
namespace {

std::string shape_text(const py::ssize_t* begin, const py::ssize_t* end) {
  std::string text = "(";
  for (const py::ssize_t* p = begin; p != end; ++p) text += (p == begin ? "" : ", ") + std::to_string(*p);
  return text + (end - begin == 1 ? ",)" : ")");
}

// A NumPy array whose data may start anywhere is flagged unaligned; stored weights may be so, activations may not.
bool aligned(const py::array& a) {
  const auto itemsize = static_cast<std::uintptr_t>(a.itemsize());  // 0 for an empty record
  return itemsize == 0 || reinterpret_cast<std::uintptr_t>(a.data()) % itemsize == 0;
}

template <class T>
void require_plain(const py::array& a, py::ssize_t ndim, const std::string& what, const char* type) {
  require(
      py::isinstance<py::array_t<T>>(a) && a.ndim() == ndim && contiguous(a) && aligned(a),
      what + " must be a contiguous, aligned " + std::to_string(ndim) + "-d array of " + type + "; got " + describe(a));
}

void require_writeable(const py::array& a, const std::string& what) {
  require(a.writeable(), what + " must be writeable; got a read-only array");
}

// Bytes that two contiguous arrays share.
std::ptrdiff_t shared_bytes(const py::array& a, const py::array& b) {
  const auto begin = [](const py::array& x) { return reinterpret_cast<std::intptr_t>(x.data()); };
  const std::intptr_t end = std::min(begin(a) + a.nbytes(), begin(b) + b.nbytes());
  return std::max<std::ptrdiff_t>(0, end - std::max(begin(a), begin(b)));
}

DType stored_dtype(const py::array& a, const std::string& what) {
  if (py::isinstance<py::array_t<float>>(a)) return DType::kF32;
  const bool native = a.dtype().byteorder() == '=';
  if (native && a.dtype().kind() == 'f' && a.itemsize() == 2) return DType::kF16;
  if (native && a.dtype().kind() == 'u' && a.itemsize() == 2) return DType::kBF16;
  throw std::invalid_argument(what + " must be float32, float16 or uint16 (BF16); got " + describe(a));
}

}  // namespace

void require(bool ok, const std::string& message) {
  if (!ok) throw std::invalid_argument(message);
}

std::string describe(const py::array& a) {
  const std::string type = py::str(static_cast<py::handle>(a.dtype()));
  return shape_text(a.shape(), a.shape() + a.ndim()) + " " + type + (contiguous(a) ? "" : ", strided") +
         (aligned(a) ? "" : ", unaligned");
}

std::string text(double value) { return py::str(py::float_(value)); }

Stored stored(const py::array& a, const std::string& what) {
  const DType dtype = stored_dtype(a, what);
  require(contiguous(a), what + " must be contiguous; got " + describe(a));
  return {a.data(), dtype};
}

const float* f32(const py::array& a, py::ssize_t ndim, const std::string& what) {
  require_plain<float>(a, ndim, what, "float32");
  return static_cast<const float*>(a.data());
}

const std::int32_t* i32(const py::array& a, py::ssize_t ndim, const std::string& what) {
  require_plain<std::int32_t>(a, ndim, what, "int32");
  return static_cast<const std::int32_t*>(a.data());
}

float* f32_out(py::array& a, py::ssize_t ndim, const std::string& what) {
  require_plain<float>(a, ndim, what, "float32");
  require_writeable(a, what);
  return static_cast<float*>(a.mutable_data());
}

std::int32_t* i32_out(py::array& a, py::ssize_t ndim, const std::string& what) {
  require_plain<std::int32_t>(a, ndim, what, "int32");
  require_writeable(a, what);
  return static_cast<std::int32_t*>(a.mutable_data());
}

std::uint64_t* u64_out(py::array& a, py::ssize_t ndim, const std::string& what) {
  require_plain<std::uint64_t>(a, ndim, what, "uint64");
  require_writeable(a, what);
  return static_cast<std::uint64_t*>(a.mutable_data());
}

void* stored_out(py::array& a, py::ssize_t ndim, const std::string& what, DType* dtype) {
  *dtype = stored_dtype(a, what);
  require(a.ndim() == ndim && contiguous(a) && aligned(a),
          what + " must be a contiguous, aligned " + std::to_string(ndim) + "-d array; got " + describe(a));
  require_writeable(a, what);
  return a.mutable_data();
}

void require_shape(const py::array& a, std::initializer_list<py::ssize_t> expected, const std::string& what,
                   const std::string& why) {
  const bool same =
      a.ndim() == static_cast<py::ssize_t>(expected.size()) && std::equal(expected.begin(), expected.end(), a.shape());
  require(same, what + " must be " + shape_text(expected.begin(), expected.end()) + " to match " + why + "; got " +
                    describe(a));
}

void require_apart(const py::array& out, const py::array& other, const std::string& what, const std::string& name) {
  const std::ptrdiff_t shared = shared_bytes(out, other);
  require(shared == 0,
          what + " must lie outside the memory of " + name + "; got " + std::to_string(shared) + " bytes of both");
}

void require_apart_or_same(const py::array& out, const py::array& other, const std::string& what,
                           const std::string& name) {
  if (out.data() == other.data() && out.nbytes() == other.nbytes()) return;
  const std::ptrdiff_t shared = shared_bytes(out, other);
  require(shared == 0,
          what + " must be " + name + " or lie outside its memory; got " + std::to_string(shared) + " bytes of both");
}

}  // namespace inferno::bindings

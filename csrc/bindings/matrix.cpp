#include "bindings/matrix.h"

namespace inferno::bindings {

Matrix matrix(const MatrixArgument& argument, py::ssize_t axis, const std::string& what, const std::string& shape) {
  const auto* list = std::get_if<std::vector<py::array>>(&argument);
  const std::size_t count = list == nullptr ? 1 : list->size();
  require(count > 0, what + " must be an array or a list of at least one; got an empty list");
  require(axis == 0 || axis == 1,
          what + ": axis must be 0 (blocks of rows) or 1 (blocks of columns); got " + std::to_string(axis));
  const py::array& first = list == nullptr ? std::get<py::array>(argument) : list->front();
  const std::string first_name = what.substr(what.rfind(' ') + 1) + "[0]";  // "w[0]" of "matmul: w"
  const py::ssize_t other = 1 - axis;
  Matrix all{DType::kF32, 0, 0, static_cast<std::size_t>(axis), {}};
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = list == nullptr ? what : what + "[" + std::to_string(i) + "]";
    const py::array& a = list == nullptr ? first : (*list)[i];
    const Stored found = stored(a, name);
    require(a.ndim() == 2 && a.size() > 0, name + " must be " + shape + "; got " + describe(a));
    if (i == 0) all.dtype = found.dtype;
    require(found.dtype == all.dtype, name + " must have the dtype of " + first_name + "; got " + describe(a));
    require(a.shape(other) == first.shape(other), name + " must have " + std::to_string(first.shape(other)) +
                                                      (axis == 0 ? " columns" : " rows") + " to match " + first_name +
                                                      "; got " + describe(a));
    all.pieces.push_back({found.data, total, dim(a, axis)});
    total += dim(a, axis);
  }
  all.rows = axis == 0 ? total : dim(first, 0);
  all.columns = axis == 0 ? dim(first, 1) : total;
  return all;
}

void require_apart(const py::array& out, const MatrixArgument& argument, const std::string& what,
                   const std::string& name) {
  if (const auto* whole = std::get_if<py::array>(&argument)) return require_apart(out, *whole, what, name);
  for (const py::array& piece : std::get<std::vector<py::array>>(argument)) require_apart(out, piece, what, name);
}

py::object arrays(const MatrixArgument& argument) {
  if (const auto* list = std::get_if<std::vector<py::array>>(&argument)) return py::cast(*list);
  return std::get<py::array>(argument);
}

}  // namespace inferno::bindings

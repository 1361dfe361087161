// A weight matrix as an argument: one array, or the list of the arrays that it is cut into, which are used where they
// lie.
#pragma once

#include <pybind11/stl.h>

#include <string>
#include <variant>
#include <vector>

#include "bindings/checks.h"

namespace inferno::bindings {

using MatrixArgument = std::variant<py::array, std::vector<py::array>>;

struct Piece {
  const void* data;    // row-major, without padding
  std::size_t begin;   // its first row (axis 0) or column (axis 1) in the whole matrix
  std::size_t extent;  // its rows or columns
  std::size_t end() const { return begin + extent; }
};

struct Matrix {
  DType dtype;
  std::size_t rows, columns;
  std::size_t axis;  // what the pieces are blocks of: 0 rows, 1 columns
  std::vector<Piece> pieces;
};

// Checks the pieces: stored, 2-d (`shape` names the axes, for messages), not empty, of one type, and equal in the other
// dimension.
Matrix matrix(const MatrixArgument& argument, py::ssize_t axis, const std::string& what, const std::string& shape);

// Requires that `out` shares no memory with a piece.
void require_apart(const py::array& out, const MatrixArgument& argument, const std::string& what,
                   const std::string& name);

// The arrays, to be kept alive.
py::object arrays(const MatrixArgument& argument);

}  // namespace inferno::bindings

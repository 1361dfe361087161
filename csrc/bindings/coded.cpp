#include "bindings/coded.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

// What Python calls the types of codes, and how each is packed.
struct Kind {
  const char* name;
  CodeType type;
  std::size_t bits;
  std::size_t k_multiple, n_multiple;  // what packing asks of the shape
  bool transposed;                     // scales and zeros are (column blocks, n)
  bool has_zeros;
};
constexpr std::array<Kind, kCodeTypes> kKinds{{
    {"i8", CodeType::kI8, 8, 1, 1, false, true},
    {"u8", CodeType::kU8, 8, 1, 1, false, true},
    {"u4", CodeType::kU4, 4, 1, 1, false, true},
    {"lut4", CodeType::kLut4, 4, 2, 1, false, false},
    {"e4m3", CodeType::kE4M3, 8, 1, 1, false, false},
    {"gptq4", CodeType::kGptq4, 4, 8, 1, true, true},
    {"gptq8", CodeType::kGptq8, 8, 4, 1, true, true},
    {"awq4", CodeType::kAwq4, 4, 1, 8, true, true},
}};

const Kind& kind_of(const std::string& name) {
  std::string names;
  for (const Kind& kind : kKinds) {
    if (name == kind.name) return kind;
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  }
  throw std::invalid_argument("CodedWeight: kind must be one of " + names + "; got " + name);
}

constexpr std::size_t ceil_div(std::size_t a, std::size_t b) { return a / b + (a % b != 0); }

bool is_integers(const py::array& a, const char* kinds, py::ssize_t bytes) {
  const py::dtype type = a.dtype();
  const bool native = type.byteorder() == '=' || type.byteorder() == '|';
  return native && a.itemsize() == bytes && std::strchr(kinds, type.kind()) != nullptr;
}

std::size_t positive(py::ssize_t value, const char* what) {
  constexpr py::ssize_t kMax = std::numeric_limits<std::int32_t>::max();
  require(value >= 1 && value <= kMax, std::string("CodedWeight: ") + what + " must be in [1, " + std::to_string(kMax) +
                                           "]; got " + std::to_string(value));
  return static_cast<std::size_t>(value);
}

// Requires one element for each block of rows and of columns, in that order; dimensions of one may stand anywhere or
// nowhere, and all may lie in one dimension.
void require_blocks(const py::array& a, std::size_t first, std::size_t second, const std::string& what) {
  std::vector<std::size_t> found, expected;
  for (py::ssize_t d = 0; d < a.ndim(); ++d) {
    if (a.shape(d) != 1) found.push_back(dim(a, d));
  }
  for (const std::size_t each : {first, second}) {
    if (each != 1) expected.push_back(each);
  }
  const bool flat = found.size() == 1 && found[0] == first * second;
  require(contiguous(a) && (found == expected || flat), what + " must be a contiguous (" + std::to_string(first) +
                                                            ", " + std::to_string(second) +
                                                            ") to match n, k and block; got " + describe(a));
}

std::vector<float> copied_floats(const py::array& a, std::size_t count, const std::string& what) {
  require(py::isinstance<py::array_t<float>>(a) && contiguous(a) && a.ndim() == 1 && dim(a, 0) == count,
          what + " must be a contiguous (" + std::to_string(count) + ",) float32; got " + describe(a));
  std::vector<float> copy(count);
  std::memcpy(copy.data(), a.data(), count * sizeof(float));
  return copy;
}

void set_codes(CodedWeight& w, const Kind& kind, const py::array& codes) {
  CodedMatrix& m = w.matrix;
  require((is_integers(codes, "iu", 1) || is_integers(codes, "i", 4)) && contiguous(codes),
          "CodedWeight: codes must be a contiguous array of int8, uint8 or int32; got " + describe(codes));
  const auto bytes = static_cast<std::size_t>(codes.nbytes());
  const std::size_t packed_row = ceil_div(m.k * kind.bits, 8), padded_row = ceil_div(m.k * kind.bits, 32) * 4;
  // Words of rows hold whole multiples of k, words of columns of n: divided first, so that nothing overflows.
  const std::size_t words = kind.n_multiple > 1 ? m.n * kind.bits / 8 * m.k : m.k * kind.bits / 8 * m.n;
  const std::size_t whole = kind.transposed ? words : m.n * packed_row;
  const bool may_be_padded = m.type == CodeType::kU8 || m.type == CodeType::kU4;  // rows of whole int32 words
  const bool padded = may_be_padded && bytes == m.n * padded_row;
  const std::string or_padded =
      may_be_padded && padded_row != packed_row ? " or " + std::to_string(m.n * padded_row) : "";
  require(padded || bytes == whole, "CodedWeight: codes must have " + std::to_string(whole) + or_padded +
                                        " bytes to match n and k; got " + describe(codes));
  m.codes = codes.data();
  m.row_bytes = kind.transposed ? 0 : padded ? padded_row : packed_row;
}

void set_scales(CodedWeight& w, const Kind& kind, const py::array& scales, double factor, bool nested) {
  const CodedMatrix& m = w.matrix;
  const std::size_t row_blocks = ceil_div(m.n, m.block_rows);
  Scales& s = w.matrix.scales;
  if (nested) {
    require(is_integers(scales, "u", 1),
            "CodedWeight: scales must be uint8 to match nested_levels; got " + describe(scales));
    s.type = ScaleType::kNested;
  } else {
    constexpr ScaleType kTypes[] = {ScaleType::kF32, ScaleType::kF16, ScaleType::kBF16};
    s.type = kTypes[index_of(stored(scales, "CodedWeight: scales").dtype)];
  }
  require_blocks(scales, kind.transposed ? m.column_blocks : row_blocks, kind.transposed ? row_blocks : m.column_blocks,
                 "CodedWeight: scales");
  require(std::isfinite(static_cast<float>(factor)), "CodedWeight: factor must be finite; got " + text(factor));
  s.data = scales.data();
  s.row_stride = kind.transposed ? 1 : m.column_blocks;
  s.column_stride = kind.transposed ? row_blocks : 1;
  s.factor = static_cast<float>(factor);
}

void set_nested(CodedWeight& w, const MaybeArray& levels, const MaybeArray& scales, py::ssize_t block, double offset) {
  require(levels.has_value() == scales.has_value(),
          "CodedWeight: nested_levels and nested_scales must be given together; got one of them");
  if (!levels) {
    require(block == 0 && offset == 0,
            "CodedWeight: nested_block and nested_offset must be 0 without nested_levels; got " +
                std::to_string(block) + " and " + text(offset));
    return;
  }
  Scales& s = w.matrix.scales;
  const std::vector<float> copy = copied_floats(*levels, w.nested_levels.size(), "CodedWeight: nested_levels");
  std::copy(copy.begin(), copy.end(), w.nested_levels.begin());
  s.nested_levels = w.nested_levels.data();
  s.nested_block = positive(block, "nested_block");
  require(std::isfinite(static_cast<float>(offset)), "CodedWeight: nested_offset must be finite; got " + text(offset));
  s.nested_offset = static_cast<float>(offset);
  const std::size_t count =
      ceil_div(ceil_div(w.matrix.n, w.matrix.block_rows) * w.matrix.column_blocks, s.nested_block);
  require(py::isinstance<py::array_t<float>>(*scales) && contiguous(*scales) &&
              static_cast<std::size_t>(scales->size()) == count,
          "CodedWeight: nested_scales must be " + std::to_string(count) +
              " contiguous float32 to match scales and nested_block; got " + describe(*scales));
  s.nested_scales = static_cast<const float*>(scales->data());
}

void set_packed_zeros(CodedWeight& w, const Kind& kind, const py::array& zeros) {
  const CodedMatrix& m = w.matrix;
  const bool packed_codes = m.type == CodeType::kU4 || m.type == CodeType::kU8 || kind.transposed;
  require(packed_codes,
          "CodedWeight: zeros must be int8 or uint8 to match kind " + w.kind + "; got " + describe(zeros));
  require(m.block_rows == 1,
          "CodedWeight: block must have one row with packed zeros; got " + std::to_string(m.block_rows));
  const std::size_t each = 32 / kind.bits;
  w.matrix.zeros.type = m.type == CodeType::kAwq4 ? ZeroType::kPackedAwq4
                        : kind.transposed ? (kind.bits == 4 ? ZeroType::kPackedColumns4 : ZeroType::kPackedColumns8)
                                          : (kind.bits == 4 ? ZeroType::kPackedRows4 : ZeroType::kPackedRows8);
  if (kind.transposed) {
    require(m.n % each == 0, "CodedWeight: n must be a multiple of " + std::to_string(each) +
                                 " with packed zeros of kind " + w.kind + "; got " + std::to_string(m.n));
    require_blocks(zeros, m.column_blocks, m.n / each, "CodedWeight: zeros");
  } else {
    require_blocks(zeros, ceil_div(m.n, each), m.column_blocks, "CodedWeight: zeros");
  }
}

void set_zeros(CodedWeight& w, const Kind& kind, const MaybeArray& zeros, int constant) {
  const CodedMatrix& m = w.matrix;
  Zeros& z = w.matrix.zeros;
  z = {ZeroType::kConstant, nullptr, constant};
  require(constant >= -128 && constant <= 255,
          "CodedWeight: zero must be in [-128, 255]; got " + std::to_string(constant));
  require(kind.has_zeros || (!zeros && constant == 0), "CodedWeight: kind " + w.kind + " must have no zeros; got " +
                                                           (zeros ? describe(*zeros) : std::to_string(constant)));
  if (!zeros) return;
  if (is_integers(*zeros, "i", 4)) {
    set_packed_zeros(w, kind, *zeros);
  } else {
    require(is_integers(*zeros, "iu", 1),
            "CodedWeight: zeros must be int8, uint8, or int32 (packed); got " + describe(*zeros));
    require(constant == 0,
            "CodedWeight: zero must be 0 with zeros that are not packed; got " + std::to_string(constant));
    z.type = zeros->dtype().kind() == 'i' ? ZeroType::kI8 : ZeroType::kU8;
    const std::size_t row_blocks = ceil_div(m.n, m.block_rows);
    require_blocks(*zeros, kind.transposed ? m.column_blocks : row_blocks,
                   kind.transposed ? row_blocks : m.column_blocks, "CodedWeight: zeros");
  }
  z.data = zeros->data();
}

void set_block_of(CodedWeight& w, const MaybeArray& block_of) {
  CodedMatrix& m = w.matrix;
  if (!block_of) return;
  require(
      is_integers(*block_of, "i", 4) && contiguous(*block_of) && block_of->ndim() == 1 && dim(*block_of, 0) == m.k,
      "CodedWeight: block_of must be a contiguous (" + std::to_string(m.k) + ",) int32; got " + describe(*block_of));
  std::vector<std::int32_t> copy(m.k);
  std::memcpy(copy.data(), block_of->data(), m.k * sizeof(std::int32_t));
  bool in_order = true;
  for (std::size_t p = 0; p < m.k; ++p) {
    require(copy[p] >= 0 && static_cast<std::size_t>(copy[p]) < m.column_blocks,
            "CodedWeight: block_of must be in [0, " + std::to_string(m.column_blocks) + "); got " +
                std::to_string(copy[p]) + " for column " + std::to_string(p));
    in_order = in_order && static_cast<std::size_t>(copy[p]) == p / m.block_columns;
  }
  if (in_order) return;  // it says what is so without it
  w.block_of = std::move(copy);
  m.block_of = w.block_of.data();
}

std::unique_ptr<CodedWeight> make(const std::string& kind_name, const py::array& codes, py::ssize_t n, py::ssize_t k,
                                  const py::array& scales, const std::pair<py::ssize_t, py::ssize_t>& block,
                                  const MaybeArray& zeros, int zero, const MaybeArray& block_of,
                                  const MaybeArray& levels, double factor, const MaybeArray& nested_levels,
                                  const MaybeArray& nested_scales, py::ssize_t nested_block, double nested_offset) {
  const Kind& kind = kind_of(kind_name);
  auto w = std::make_unique<CodedWeight>();
  w->kind = kind_name;
  CodedMatrix& m = w->matrix;
  m.type = kind.type;
  m.n = positive(n, "n");
  m.k = positive(k, "k");
  require(m.k % kind.k_multiple == 0, "CodedWeight: k must be a multiple of " + std::to_string(kind.k_multiple) +
                                          " for kind " + kind_name + "; got " + std::to_string(k));
  require(m.n % kind.n_multiple == 0, "CodedWeight: n must be a multiple of " + std::to_string(kind.n_multiple) +
                                          " for kind " + kind_name + "; got " + std::to_string(n));
  m.block_rows = positive(block.first, "block's rows");
  m.block_columns = positive(block.second, "block's columns");
  require(!kind.transposed || m.block_rows == 1,
          "CodedWeight: block must have one row for kind " + kind_name + "; got " + std::to_string(m.block_rows));
  m.column_blocks = ceil_div(m.k, m.block_columns);
  require((!block_of && m.block_columns % 8 == 0) || m.column_blocks <= kMaxGatheredBlocks,
          "CodedWeight: block must leave at most " + std::to_string(kMaxGatheredBlocks) +
              " blocks of columns with block_of, or with columns that are no multiple of 8; got " +
              std::to_string(m.column_blocks));
  set_codes(*w, kind, codes);
  set_scales(*w, kind, scales, factor, nested_levels.has_value());
  set_nested(*w, nested_levels, nested_scales, nested_block, nested_offset);
  set_zeros(*w, kind, zeros, zero);
  set_block_of(*w, block_of);
  require(levels.has_value() == (m.type == CodeType::kLut4),
          "CodedWeight: levels must be given for kind lut4 and no other; got kind " + kind_name +
              (levels ? " with them" : " without"));
  if (levels) {
    const std::vector<float> copy = copied_floats(*levels, w->levels.size(), "CodedWeight: levels");
    std::copy(copy.begin(), copy.end(), w->levels.begin());
    m.levels = w->levels.data();
  }
  w->arrays = {codes, scales};
  for (const MaybeArray* each : {&zeros, &nested_scales}) {
    if (*each) w->arrays.push_back(**each);
  }
  for (const py::array& each : w->arrays) w->nbytes += static_cast<std::size_t>(each.nbytes());
  return w;
}

}  // namespace

void bind_coded(py::module_& m) {
  py::class_<CodedWeight, std::shared_ptr<CodedWeight>>(m, "CodedWeight")
      .def(py::init(&make), py::arg("kind"), py::arg("codes"), py::arg("n"), py::arg("k"), py::arg("scales"),
           py::kw_only(), py::arg("block"), py::arg("zeros") = py::none(), py::arg("zero") = 0,
           py::arg("block_of") = py::none(), py::arg("levels") = py::none(), py::arg("factor") = 1.0,
           py::arg("nested_levels") = py::none(), py::arg("nested_scales") = py::none(), py::arg("nested_block") = 0,
           py::arg("nested_offset") = 0.0)
      .def_property_readonly("kind", [](const CodedWeight& self) { return self.kind; })
      .def_property_readonly("n", [](const CodedWeight& self) { return self.matrix.n; })
      .def_property_readonly("k", [](const CodedWeight& self) { return self.matrix.k; })
      .def_property_readonly("nbytes", [](const CodedWeight& self) { return self.nbytes; });
}

}  // namespace inferno::bindings

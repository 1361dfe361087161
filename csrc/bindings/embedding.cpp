#include "kernels/embedding.h"

#include "bindings/bindings.h"
#include "bindings/matrix.h"

namespace inferno::bindings {
namespace {

void check_ids(const std::int32_t* ids, std::size_t n, std::size_t rows) {
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] >= 0 && static_cast<std::size_t>(ids[i]) < rows) continue;
    require(false, "embedding: token ids must be in [0, " + std::to_string(rows) + "); got " + std::to_string(ids[i]));
  }
}

// Rows of `out` for these ids, each row gathered from the pieces of the table that hold it.
void gather(kernels::Embedding* kernel, float* out, const std::int32_t* ids, std::size_t n, const Matrix& table) {
  const std::size_t width = table.columns;
  if (table.pieces.size() == 1) return kernel(out, ids, table.pieces[0].data, n, width);
  for (std::size_t i = 0; i < n; ++i, out += width) {
    const auto id = static_cast<std::size_t>(ids[i]);
    for (const Piece& piece : table.pieces) {
      if (table.axis == 1) {
        kernel(out + piece.begin, ids + i, piece.data, 1, piece.extent);
      } else if (piece.begin <= id && id < piece.end()) {
        const auto row = static_cast<std::int32_t>(id - piece.begin);
        kernel(out, &row, piece.data, 1, width);
      }
    }
  }
}

class EmbeddingOp final : public Operation {
 public:
  EmbeddingOp(kernels::Embedding* kernel, std::size_t out, Matrix table)
      : kernel_(kernel), out_(out), table_(std::move(table)) {}
  const char* name() const override { return "embedding"; }
  std::vector<Resource> reads() const override { return {}; }
  std::vector<Resource> writes() const override { return {out_}; }
  void check(const Batch& batch) const override { check_ids(batch.token_ids, batch.tokens, table_.rows); }
  std::size_t items(const Step& step) const override { return step.batch.tokens; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    float* out = step.buffer(out_) + begin * table_.columns;
    gather(kernel_, out, step.batch.token_ids + begin, end - begin, table_);
  }

 private:
  kernels::Embedding* kernel_;
  std::size_t out_;
  Matrix table_;
};

Matrix checked_table(const MatrixArgument& table, py::ssize_t axis) {
  return matrix(table, axis, "embedding: table", "(vocab, dim)");
}

void embedding(py::array out, const py::array& ids, const MatrixArgument& table, py::ssize_t axis,
               const std::string& isa) {
  float* out_data = f32_out(out, 2, "embedding: out");
  const std::int32_t* id_data = i32(ids, 1, "embedding: ids");
  const Matrix w = checked_table(table, axis);
  require_shape(out, {ids.shape(0), static_cast<py::ssize_t>(w.columns)}, "embedding: out", "ids and table");
  check_ids(id_data, dim(ids, 0), w.rows);
  require_apart(out, ids, "embedding: out", "ids");
  require_apart(out, table, "embedding: out", "table");
  kernels::Embedding* kernel = tier(isa).kernels.embedding[index_of(w.dtype)];
  py::gil_scoped_release nogil;
  gather(kernel, out_data, id_data, dim(ids, 0), w);
}

void record(BoundProgram& self, const std::string& out, const MatrixArgument& table, py::ssize_t axis) {
  Matrix w = checked_table(table, axis);
  const std::size_t id = self.find_tokens(out, w.columns, "embedding: out");
  kernels::Embedding* kernel = self.program.kernels().embedding[index_of(w.dtype)];
  self.add(EmbeddingOp(kernel, id, std::move(w)), {arrays(table)});
}

}  // namespace

void bind_embedding(py::module_& m, ProgramClass& program) {
  m.def("embedding", &embedding, py::arg("out"), py::arg("ids"), py::arg("table"), py::kw_only(), py::arg("axis") = 0,
        py::arg("isa") = "");
  program.def("embedding", &record, py::arg("out"), py::arg("table"), py::kw_only(), py::arg("axis") = 0);
}

}  // namespace inferno::bindings

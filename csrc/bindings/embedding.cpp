#include "kernels/embedding.h"

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

void check_ids(const std::int32_t* ids, std::size_t n, std::size_t rows) {
  for (std::size_t i = 0; i < n; ++i) {
    if (ids[i] >= 0 && static_cast<std::size_t>(ids[i]) < rows) continue;
    require(false, "embedding: token ids must be in [0, " + std::to_string(rows) + "); got " + std::to_string(ids[i]));
  }
}

class EmbeddingOp final : public Operation {
 public:
  EmbeddingOp(kernels::Embedding* kernel, std::size_t out, std::size_t dim, const void* table, std::size_t rows)
      : kernel_(kernel), out_(out), dim_(dim), table_(table), rows_(rows) {}
  const char* name() const override { return "embedding"; }
  std::vector<Resource> reads() const override { return {}; }
  std::vector<Resource> writes() const override { return {out_}; }
  void check(const Batch& batch) const override { check_ids(batch.token_ids, batch.tokens, rows_); }
  std::size_t items(const Step& step) const override { return step.batch.tokens; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    kernel_(step.buffer(out_) + begin * dim_, step.batch.token_ids + begin, table_, end - begin, dim_);
  }

 private:
  kernels::Embedding* kernel_;
  std::size_t out_, dim_;
  const void* table_;
  std::size_t rows_;
};

void embedding(py::array out, const py::array& ids, const py::array& table, const std::string& isa) {
  float* out_data = f32_out(out, 2, "embedding: out");
  const std::int32_t* id_data = i32(ids, 1, "embedding: ids");
  const Stored w = stored(table, "embedding: table");
  require(table.ndim() == 2, "embedding: table must be (vocab, dim); got " + describe(table));
  require_shape(out, {ids.shape(0), table.shape(1)}, "embedding: out", "ids and table");
  check_ids(id_data, dim(ids, 0), dim(table, 0));
  kernels::Embedding* kernel = tier(isa).kernels.embedding[index_of(w.dtype)];
  py::gil_scoped_release nogil;
  kernel(out_data, id_data, w.data, dim(ids, 0), dim(table, 1));
}

void record(BoundProgram& self, const std::string& out, const py::array& table) {
  const Stored w = stored(table, "embedding: table");
  require(table.ndim() == 2, "embedding: table must be (vocab, dim); got " + describe(table));
  const std::size_t id = self.find_tokens(out, dim(table, 1), "embedding: out");
  self.add(EmbeddingOp(self.program.kernels().embedding[index_of(w.dtype)], id, dim(table, 1), w.data, dim(table, 0)),
           {table});
}

}  // namespace

void bind_embedding(py::module_& m, ProgramClass& program) {
  m.def("embedding", &embedding, py::arg("out"), py::arg("ids"), py::arg("table"), py::kw_only(), py::arg("isa") = "");
  program.def("embedding", &record, py::arg("out"), py::arg("table"));
}

}  // namespace inferno::bindings

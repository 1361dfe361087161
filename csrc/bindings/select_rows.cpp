// Copies the rows whose logits are wanted: all that follows runs on them alone.
#include <cstring>

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

class SelectRowsOp final : public Operation {
 public:
  SelectRowsOp(std::size_t out, std::size_t x, std::size_t width) : out_(out), x_(x), width_(width) {}
  const char* name() const override { return "select_rows"; }
  std::vector<Resource> reads() const override { return {x_}; }
  std::vector<Resource> writes() const override { return {out_}; }
  std::size_t items(const Step& step) const override { return step.batch.outputs; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    for (std::size_t r = begin; r < end; ++r) {
      const std::size_t row = static_cast<std::size_t>(step.batch.output_rows[r]);
      std::memcpy(step.buffer(out_) + r * width_, step.buffer(x_) + row * width_, width_ * sizeof(float));
    }
  }

 private:
  std::size_t out_, x_, width_;
};

void record(BoundProgram& self, const std::string& out, const std::string& x) {
  const std::size_t x_id = self.find(x, 0, "select_rows: x"), width = self.program.buffer(x_id).width;
  const std::size_t out_id = self.find(out, width, "select_rows: out");
  require(self.program.buffer(x_id).rows == Rows::kTokens && self.program.buffer(out_id).rows == Rows::kOutputs,
          "select_rows: x must have a row for each token and out one for each output; got " + x + ", " + out);
  self.add(SelectRowsOp(out_id, x_id, width), {});
}

}  // namespace

void bind_select_rows(ProgramClass& program) { program.def("select_rows", &record, py::arg("out"), py::arg("x")); }

}  // namespace inferno::bindings

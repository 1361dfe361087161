// Program: recording is in the other files of this folder; running is here.
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

Batch make_batch(const py::array& token_ids, const py::array& lengths, const py::array& starts,
                 const py::array& block_tables, const py::array& output_rows) {
  Batch batch;
  batch.token_ids = i32(token_ids, 1, "Program.run: token_ids");
  batch.tokens = dim(token_ids, 0);
  const std::int32_t* length = i32(lengths, 1, "Program.run: lengths");
  const std::int32_t* start = i32(starts, 1, "Program.run: starts");
  const std::int32_t* table = i32(block_tables, 2, "Program.run: block_tables");
  const py::ssize_t sequences = lengths.shape(0);
  require_shape(starts, {sequences}, "Program.run: starts", "lengths");
  require_shape(block_tables, {sequences, block_tables.shape(1)}, "Program.run: block_tables", "lengths");
  const std::size_t blocks = dim(block_tables, 1);
  std::size_t first = 0;
  for (py::ssize_t s = 0; s < sequences; ++s) {
    require(length[s] >= 1 && start[s] >= 0, "Program.run: lengths must be >= 1 and starts >= 0; got " +
                                                 std::to_string(length[s]) + " and " + std::to_string(start[s]));
    batch.sequences.push_back({first, static_cast<std::size_t>(length[s]), static_cast<std::size_t>(start[s]),
                               table + static_cast<std::size_t>(s) * blocks, blocks});
    first += static_cast<std::size_t>(length[s]);
  }
  batch.output_rows = i32(output_rows, 1, "Program.run: output_rows");
  batch.outputs = dim(output_rows, 0);
  return batch;
}

void run_some(BoundProgram& self, const py::array& token_ids, const py::array& lengths, const py::array& starts,
              const py::array& block_tables, const py::array& output_rows, py::ssize_t threads, std::size_t first,
              const std::optional<std::size_t>& last, Profile* profile) {
  const Batch batch = make_batch(token_ids, lengths, starts, block_tables, output_rows);
  const std::size_t size = self.program.size();
  const std::size_t end = last.value_or(size);
  require(first <= end && end <= size, "Program.run: first and last must select from " + std::to_string(size) +
                                           " operations; got " + std::to_string(first) + " and " + std::to_string(end));
  require(threads >= 1 && threads <= static_cast<py::ssize_t>(kMaxThreads),
          "Program.run: threads must be in [1, " + std::to_string(kMaxThreads) + "]; got " + std::to_string(threads));
  const BoundProgram::Busy turn(self, "run");
  const auto signalled = [] {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
  };
  bool done;
  {
    const py::gil_scoped_release nogil;
    done = self.program.run(batch, first, end, static_cast<std::size_t>(threads), signalled, profile);
  }
  if (!done) throw py::error_already_set();
}

void run(BoundProgram& self, const py::array& token_ids, const py::array& lengths, const py::array& starts,
         const py::array& block_tables, const py::array& output_rows, py::ssize_t threads, std::size_t first,
         const std::optional<std::size_t>& last) {
  run_some(self, token_ids, lengths, starts, block_tables, output_rows, threads, first, last, nullptr);
}

// (busy (threads, operations), stages (stages,), stage_of (operations,)), times in nanoseconds.
py::tuple profile(BoundProgram& self, const py::array& token_ids, const py::array& lengths, const py::array& starts,
                  const py::array& block_tables, const py::array& output_rows, py::ssize_t threads) {
  Profile found;
  run_some(self, token_ids, lengths, starts, block_tables, output_rows, threads, 0, std::nullopt, &found);
  const std::size_t operations = self.program.size();
  return py::make_tuple(py::array_t<std::uint64_t>({found.threads, operations}, found.busy.data()),
                        py::array_t<std::uint64_t>(found.stages.size(), found.stages.data()),
                        py::array_t<std::uint64_t>(operations, found.stage_of.data()));
}

// What rows of codes stand for.
void dequantize(float* out, const void* rows, std::size_t count, std::size_t k, bool outliers) {
  for (std::size_t r = 0; r < count; ++r, out += k) {
    const auto& row =
        *reinterpret_cast<const QuantizedRow*>(static_cast<const char*>(rows) + r * quantized_row_bytes(k, outliers));
    for (std::size_t p = 0; p < k; ++p) out[p] = row.scale * static_cast<float>(row.codes()[p]);
    const Outlier* list = row.outlier_list(k);
    for (std::int32_t o = 0; o < row.outliers; ++o) out[list[o].column] = list[o].value;
  }
}

py::array_t<float> read(const BoundProgram& self, const std::string& name) {
  const BoundProgram::Busy turn(self, "read");
  const std::size_t id = self.program.find(name);
  const std::size_t rows = self.program.buffer_rows(id), width = self.program.buffer(id).width;
  py::array_t<float> out({rows, width});
  const Buffer& buffer = self.program.buffer(id);
  if (buffer.holds != Holds::kFloats) {
    dequantize(out.mutable_data(), self.program.contents(id), rows, width, buffer.holds == Holds::kCodesAndOutliers);
  } else if (rows > 0) {
    std::memcpy(out.mutable_data(), self.program.contents(id), rows * width * sizeof(float));
  }
  return out;
}

void read_into(const BoundProgram& self, const std::string& name, py::array out) {
  const BoundProgram::Busy turn(self, "read_into");
  const std::size_t id = self.find(name, 0, "Program.read_into");
  float* data = f32_out(out, 2, "Program.read_into: out");
  require_shape(
      out,
      {static_cast<py::ssize_t>(self.program.buffer_rows(id)), static_cast<py::ssize_t>(self.program.buffer(id).width)},
      "Program.read_into: out", "buffer " + name);
  if (out.nbytes() > 0) std::memcpy(data, self.program.contents(id), static_cast<std::size_t>(out.nbytes()));
}

}  // namespace

std::size_t BoundProgram::find(const std::string& name, std::size_t width, const std::string& what) const {
  const std::size_t id = program.find(name);
  const Buffer& found = program.buffer(id);
  require(found.holds == Holds::kFloats, what + ": buffer " + name + " must hold float32; got one of codes");
  require(width == 0 || found.width == width, what + ": buffer " + name + " must be " + std::to_string(width) +
                                                  " wide; got " + std::to_string(found.width));
  return id;
}

std::size_t BoundProgram::find_quantized(const std::string& name, std::size_t width, const std::string& what) const {
  const std::size_t id = program.find(name);
  const Buffer& found = program.buffer(id);
  require(found.holds != Holds::kFloats, what + ": buffer " + name + " must hold codes; got one of float32");
  require(found.width == width, what + ": buffer " + name + " must be " + std::to_string(width) + " wide; got " +
                                    std::to_string(found.width));
  return id;
}

std::size_t BoundProgram::find_tokens(const std::string& name, std::size_t width, const std::string& what) const {
  const std::size_t id = find(name, width, what);
  require(program.buffer(id).rows == Rows::kTokens,
          what + " must have a row for each token; got " + name + ", which has one for each output");
  return id;
}

BoundProgram::Busy::Busy(const BoundProgram& owner, const char* what) : owner_(owner) {
  if (owner.busy.test_and_set()) {
    throw std::runtime_error(std::string("Program: ") + what + " must wait until this program's run has ended; " +
                             "another thread is running it. A program of its own for each thread would work");
  }
}

void Scratch::Free::operator()(void* p) const { std::free(p); }

Scratch::Scratch() {
  void* memory = nullptr;
  if (posix_memalign(&memory, 64, kScratchBytes) != 0) throw std::bad_alloc();
  memory_.reset(memory);
}

void bind_program(ProgramClass& program) {
  program
      .def(py::init([](const std::string& isa) { return std::make_unique<BoundProgram>(tier(isa)); }),
           py::arg("isa") = "")
      .def_property_readonly("isa", [](const BoundProgram& self) { return self.program.tier().name; })
      .def_property_readonly("regions", [](const BoundProgram& self) { return self.program.regions(); })
      .def_property_readonly("stages", [](const BoundProgram& self) { return self.program.stages(); })
      .def_property_readonly("workspace_bytes", [](const BoundProgram& self) { return self.program.workspace_bytes(); })
      .def_property_readonly("operations",
                             [](const BoundProgram& self) {
                               py::list names;
                               for (std::size_t i = 0; i < self.program.size(); ++i) {
                                 names.append(self.program.operation(i).name());
                               }
                               return names;
                             })
      .def(
          "buffer",
          [](BoundProgram& self, const std::string& name, std::size_t width, bool outputs, bool quantized,
             bool outliers) {
            const BoundProgram::Busy turn(self, "buffer");
            require(quantized || !outliers, "Program.buffer: outliers must be False unless quantized; got True");
            const Holds holds = outliers ? Holds::kCodesAndOutliers : quantized ? Holds::kCodes : Holds::kFloats;
            self.program.add_buffer(name, outputs ? Rows::kOutputs : Rows::kTokens, width, holds);
          },
          py::arg("name"), py::arg("width"), py::kw_only(), py::arg("outputs") = false, py::arg("quantized") = false,
          py::arg("outliers") = false)
      .def("run", &run, py::arg("token_ids"), py::arg("lengths"), py::arg("starts"), py::arg("block_tables"),
           py::arg("output_rows"), py::kw_only(), py::arg("threads"), py::arg("first") = 0,
           py::arg("last") = py::none())
      .def("profile", &profile, py::arg("token_ids"), py::arg("lengths"), py::arg("starts"), py::arg("block_tables"),
           py::arg("output_rows"), py::kw_only(), py::arg("threads"))
      .def("read", &read, py::arg("buffer"))
      .def("read_into", &read_into, py::arg("buffer"), py::arg("out"));
}

}  // namespace inferno::bindings

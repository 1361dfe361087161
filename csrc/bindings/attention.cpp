// Attention and the write that fills its cache.
#include "kernels/attention.h"

#include "bindings/bindings.h"

namespace inferno::bindings {
namespace {

using kernels::kKvBlock;
using kernels::kMaxHeadDim;

// One layer's paged cache: keys (blocks, kv_heads, head_dim, kKvBlock), values (blocks, kv_heads, kKvBlock, head_dim).
struct Cache {
  char* keys;
  char* values;
  DType dtype;
  std::size_t blocks, kv_heads, head_dim;

  std::size_t head_stride() const { return head_dim * kKvBlock; }
  std::size_t block_stride() const { return kv_heads * head_stride(); }
  std::size_t bytes(std::size_t elements) const { return elements * size_of(dtype); }
  Resource key_resource() const { return reinterpret_cast<Resource>(keys); }
  Resource value_resource() const { return reinterpret_cast<Resource>(values); }
};

Cache checked_cache(py::array& keys, py::array& values, const std::string& where) {
  Cache c{};
  DType values_dtype;
  c.keys = static_cast<char*>(stored_out(keys, 4, where + ": keys", &c.dtype));
  c.values = static_cast<char*>(stored_out(values, 4, where + ": values", &values_dtype));
  c.blocks = dim(keys, 0);
  c.kv_heads = dim(keys, 1);
  c.head_dim = dim(keys, 2);
  require(dim(keys, 3) == kKvBlock, where + ": keys must be (blocks, kv_heads, head_dim, " + std::to_string(kKvBlock) +
                                        "); got " + describe(keys));
  require(c.kv_heads >= 1, where + ": keys must have at least one head; got " + describe(keys));
  require(c.head_dim >= 1 && c.head_dim <= kMaxHeadDim,
          where + ": head_dim must be in [1, " + std::to_string(kMaxHeadDim) + "]; got " + std::to_string(c.head_dim));
  require(c.dtype == values_dtype, where + ": values must have the dtype of keys; got " + describe(values));
  require_shape(values, {keys.shape(0), keys.shape(1), static_cast<py::ssize_t>(kKvBlock), keys.shape(2)},
                where + ": values", "keys");
  return c;
}

// Every block that the sequences use lies in the cache.
void check_blocks(const Batch& batch, std::size_t blocks, const char* where) {
  for (const Span& s : batch.sequences) {
    const std::size_t used = (s.first_position + s.tokens + kKvBlock - 1) / kKvBlock;
    for (std::size_t b = 0; b < used; ++b) {
      // Each layer of each step comes here: the message is not even built unless it is needed.
      if (s.block_table[b] >= 0 && static_cast<std::size_t>(s.block_table[b]) < blocks) continue;
      require(false, std::string(where) + ": block numbers must be in [0, " + std::to_string(blocks) + "); got " +
                         std::to_string(s.block_table[b]));
    }
  }
}

// Items are KV heads: two threads never write into one block of a head.
class KvWriteOp final : public Operation {
 public:
  KvWriteOp(kernels::KvWrite* kernel, const Cache& cache, std::size_t k, std::size_t v)
      : kernel_(kernel), c_(cache), k_(k), v_(v) {}
  const char* name() const override { return "kv_write"; }
  std::vector<Resource> reads() const override { return {k_, v_}; }
  std::vector<Resource> writes() const override { return {c_.key_resource(), c_.value_resource()}; }
  void check(const Batch& batch) const override { check_blocks(batch, c_.blocks, "kv_write"); }
  std::size_t items(const Step&) const override { return c_.kv_heads; }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker&) const override {
    for (std::size_t head = begin; head < end; ++head) {
      for (const Span& s : step.batch.sequences) write(step, s, head);
    }
  }

 private:
  void write(const Step& step, const Span& s, std::size_t head) const {
    for (std::size_t t = 0; t < s.tokens; ++t) {
      const std::size_t position = s.first_position + t;
      const std::size_t block = static_cast<std::size_t>(s.block_table[position / kKvBlock]);
      const std::size_t at = c_.bytes(block * c_.block_stride() + head * c_.head_stride());
      const std::size_t row = ((s.first_token + t) * c_.kv_heads + head) * c_.head_dim;
      kernel_(c_.keys + at, c_.values + at, position % kKvBlock, step.buffer(k_) + row, step.buffer(v_) + row,
              c_.head_dim);
    }
  }

  kernels::KvWrite* kernel_;
  Cache c_;
  std::size_t k_, v_;
};

// Items are (tile of tokens, KV head), heads of a tile together; where these are few and the context is long, also
// segments of it, of which the last to be done is followed by folding them.
class AttentionOp final : public Operation {
 public:
  AttentionOp(kernels::Attention* kernel, const Cache& cache, std::size_t out, std::size_t q, std::size_t heads,
              float scale)
      : kernel_(kernel), c_(cache), out_(out), q_(q), heads_(heads), scale_(scale) {}
  const char* name() const override { return "attention"; }
  std::vector<Resource> reads() const override { return {q_, c_.key_resource(), c_.value_resource()}; }
  std::vector<Resource> writes() const override { return {out_, kShared}; }
  void check(const Batch& batch) const override { check_blocks(batch, c_.blocks, "attention"); }
  std::pair<std::size_t, std::size_t> shared(const Step& step) const override {
    const std::size_t parts = split(step);
    if (parts < 2) return {0, 0};
    const std::size_t units = step.tiles.size() * c_.kv_heads;
    return {units * parts * kernels::kMaxPartRows * kernels::partial_floats(c_.head_dim), units};
  }
  std::size_t items(const Step& step) const override { return step.tiles.size() * c_.kv_heads * parts(step); }
  void run(const Step& step, std::size_t begin, std::size_t end, const Worker& worker) const override {
    const std::size_t most = parts(step);
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t unit = item / most, segment = item % most;
      const Span& tile = step.tiles[unit / c_.kv_heads];
      kernels::AttentionArgs a = arguments(step, tile, unit % c_.kv_heads, worker);
      if (most > 1) {
        a.segments = segments(tile);
        if (segment >= a.segments) continue;
        a.segment = segment;
        a.partials = step.shared + unit * most * kernels::kMaxPartRows * kernels::partial_floats(c_.head_dim);
        a.part = kernels::AttentionPart::kSegment;
        kernel_(a);
        if (step.counters[unit].fetch_add(1, std::memory_order_acq_rel) + 1 < a.segments) continue;
        step.counters[unit].store(0, std::memory_order_relaxed);
        a.part = kernels::AttentionPart::kFold;
      }
      kernel_(a);
    }
  }

 private:
  // With fewer items than this, segments are items, too: many enough that they come out even on the threads.
  static constexpr std::size_t kEnough = 64;

  static std::size_t segments(const Span& tile) {
    return (tile.first_position + tile.tokens + kernels::kKvSegment - 1) / kernels::kKvSegment;
  }
  // Segments that are items of their own; 1: none.
  std::size_t split(const Step& step) const {
    if (step.tiles.size() * c_.kv_heads >= kEnough) return 1;
    std::size_t most = 1;
    for (const Span& tile : step.tiles) {
      if (tile.tokens * (heads_ / c_.kv_heads) > kernels::kMaxPartRows) return 1;
      most = std::max(most, segments(tile));
    }
    return most;
  }
  std::size_t parts(const Step& step) const { return step.shared == nullptr ? 1 : split(step); }

  kernels::AttentionArgs arguments(const Step& step, const Span& tile, std::size_t head, const Worker& worker) const {
    const std::size_t group = heads_ / c_.kv_heads, width = heads_ * c_.head_dim;
    const std::size_t at = tile.first_token * width + head * group * c_.head_dim;
    kernels::AttentionArgs a{};
    a.out = step.buffer(out_) + at;
    a.q = step.buffer(q_) + at;
    a.ldo = a.ldq = width;
    a.keys = c_.keys + c_.bytes(head * c_.head_stride());
    a.values = c_.values + c_.bytes(head * c_.head_stride());
    a.block_stride = c_.block_stride();
    a.block_table = tile.block_table;
    a.first_position = tile.first_position;
    a.tokens = tile.tokens;
    a.group = group;
    a.head_dim = c_.head_dim;
    a.scale = scale_;
    a.part = kernels::AttentionPart::kWhole;
    a.scratch = worker.scratch;
    return a;
  }

  kernels::Attention* kernel_;
  Cache c_;
  std::size_t out_, q_, heads_;
  float scale_;
};
static_assert(kernels::kAttentionScratchBytes <= kScratchBytes);

void kv_write(py::array keys, py::array values, const py::array& block_table, std::int32_t first_position,
              const py::array& k, const py::array& v, const std::string& isa) {
  const Cache c = checked_cache(keys, values, "kv_write");
  const auto heads = static_cast<py::ssize_t>(c.kv_heads), head_dim = static_cast<py::ssize_t>(c.head_dim);
  f32(k, 3, "kv_write: k");
  f32(v, 3, "kv_write: v");
  require_shape(k, {k.shape(0), heads, head_dim}, "kv_write: k", "keys");
  require_shape(v, {k.shape(0), heads, head_dim}, "kv_write: v", "k");
  const std::int32_t* table = i32(block_table, 1, "kv_write: block_table");
  require(first_position >= 0, "kv_write: first_position must be >= 0; got " + std::to_string(first_position));
  const Span span{0, dim(k, 0), static_cast<std::size_t>(first_position), table, dim(block_table, 0)};
  require(span.first_position + span.tokens <= span.blocks * kKvBlock,
          "kv_write: block_table must cover the positions; got " + describe(block_table));
  Batch batch;
  batch.tokens = span.tokens;
  batch.sequences = {span};
  check_blocks(batch, c.blocks, "kv_write");
  const std::pair<const py::array&, const char*> read[] = {{block_table, "block_table"}, {k, "k"}, {v, "v"}};
  for (const auto& [array, name] : read) {
    require_apart(keys, array, "kv_write: keys", name);
    require_apart(values, array, "kv_write: values", name);
  }
  require_apart(keys, values, "kv_write: keys", "values");
  const KvWriteOp op(tier(isa).kernels.kv_write[index_of(c.dtype)], c, 0, 1);
  float* const buffers[] = {static_cast<float*>(const_cast<void*>(k.data())),
                            static_cast<float*>(const_cast<void*>(v.data()))};
  const Step step{batch, {}, {}, {buffers[0], buffers[1]}, nullptr, nullptr};
  py::gil_scoped_release nogil;
  op.run(step, 0, c.kv_heads, Worker{0, 1, nullptr});
}

void attention(py::array out, const py::array& q, py::array keys, py::array values, const py::array& block_table,
               std::int32_t first_position, float scale, const std::string& isa) {
  const Cache c = checked_cache(keys, values, "attention");
  float* out_data = f32_out(out, 3, "attention: out");
  const float* q_data = f32(q, 3, "attention: q");
  require_shape(q, {q.shape(0), q.shape(1), static_cast<py::ssize_t>(c.head_dim)}, "attention: q", "keys");
  require(dim(q, 1) % c.kv_heads == 0,
          "attention: q must have a multiple of " + std::to_string(c.kv_heads) + " heads; got " + describe(q));
  require_shape(out, {q.shape(0), q.shape(1), q.shape(2)}, "attention: out", "q");
  const std::int32_t* table = i32(block_table, 1, "attention: block_table");
  require(first_position >= 0, "attention: first_position must be >= 0; got " + std::to_string(first_position));
  const Span span{0, dim(q, 0), static_cast<std::size_t>(first_position), table, dim(block_table, 0)};
  require(span.first_position + span.tokens <= span.blocks * kKvBlock,
          "attention: block_table must cover the positions; got " + describe(block_table));
  Batch batch;
  batch.tokens = span.tokens;
  batch.sequences = {span};
  check_blocks(batch, c.blocks, "attention");
  const std::pair<const py::array&, const char*> read[] = {
      {q, "q"}, {keys, "keys"}, {values, "values"}, {block_table, "block_table"}};
  for (const auto& [array, name] : read) require_apart(out, array, "attention: out", name);
  const AttentionOp op(tier(isa).kernels.attention[index_of(c.dtype)], c, 0, 1, dim(q, 1), scale);
  const Step step{batch, {}, {span}, {out_data, const_cast<float*>(q_data)}, nullptr, nullptr};
  const Scratch scratch;
  py::gil_scoped_release nogil;
  op.run(step, 0, span.tokens > 0 ? c.kv_heads : 0, Worker{0, 1, static_cast<std::byte*>(scratch.get())});
}

void record_kv_write(BoundProgram& self, const std::string& k, const std::string& v, py::array keys, py::array values) {
  const Cache c = checked_cache(keys, values, "kv_write");
  const std::size_t width = c.kv_heads * c.head_dim;
  self.add(KvWriteOp(self.program.kernels().kv_write[index_of(c.dtype)], c, self.find_tokens(k, width, "kv_write: k"),
                     self.find_tokens(v, width, "kv_write: v")),
           {keys, values});
}

void record_attention(BoundProgram& self, const std::string& out, const std::string& q, py::array keys,
                      py::array values, float scale) {
  const Cache c = checked_cache(keys, values, "attention");
  const std::size_t q_id = self.find_tokens(q, 0, "attention: q"), width = self.program.buffer(q_id).width;
  require(width % (c.kv_heads * c.head_dim) == 0, "attention: q must be a multiple of " +
                                                      std::to_string(c.kv_heads * c.head_dim) + " wide; got " +
                                                      std::to_string(width));
  const std::size_t out_id = self.find_tokens(out, width, "attention: out");
  require(out_id != q_id, "attention: out and q must be different buffers; got " + out + " twice");
  self.add(AttentionOp(self.program.kernels().attention[index_of(c.dtype)], c, out_id, q_id, width / c.head_dim, scale),
           {keys, values});
}

}  // namespace

void bind_attention(py::module_& m, ProgramClass& program) {
  m.attr("KV_BLOCK") = kKvBlock;
  m.attr("MAX_HEAD_DIM") = kMaxHeadDim;
  m.def("kv_write", &kv_write, py::arg("keys"), py::arg("values"), py::arg("block_table"), py::arg("first_position"),
        py::arg("k"), py::arg("v"), py::kw_only(), py::arg("isa") = "");
  m.def("attention", &attention, py::arg("out"), py::arg("q"), py::arg("keys"), py::arg("values"),
        py::arg("block_table"), py::arg("first_position"), py::arg("scale"), py::kw_only(), py::arg("isa") = "");
  program.def("kv_write", &record_kv_write, py::arg("k"), py::arg("v"), py::arg("keys"), py::arg("values"));
  program.def("attention", &record_attention, py::arg("out"), py::arg("q"), py::arg("keys"), py::arg("values"),
              py::arg("scale"));
}

}  // namespace inferno::bindings

#include "model/frontends/tflite/sparse.h"

#include <cstring>

namespace slipway::tflite {
namespace {

// A small file must not become a large tensor: real sparse weights keep more than 1 in 1000.
constexpr uint64_t kMostExpansion = 1000, kFreeBytes = uint64_t{1} << 20;

Status Bad(const std::string& what) {
  return InvalidArgument("its sparse storage is damaged: " + what +
                         "; convert the model again or without sparsity");
}

// The numbers of one index vector, in whichever of the three widths.
Result<std::vector<int64_t>> Numbers(fb::SparseIndexVector type, const void* table,
                                     const char* what) {
  std::vector<int64_t> out;
  auto take = [&](const auto* vector) {
    if (!vector) return false;
    for (auto v : *vector) out.push_back(static_cast<int64_t>(v));
    return true;
  };
  bool read = false;
  if (table && type == fb::SparseIndexVector::Int32Vector)
    read = take(static_cast<const fb::Int32Vector*>(table)->values());
  if (table && type == fb::SparseIndexVector::Uint16Vector)
    read = take(static_cast<const fb::Uint16Vector*>(table)->values());
  if (table && type == fb::SparseIndexVector::Uint8Vector)
    read = take(static_cast<const fb::Uint8Vector*>(table)->values());
  if (!read) return Bad(std::string(what) + " are missing");
  return out;
}

struct Level {
  int64_t size = 0, stride = 0;  // stride: elements of the dense tensor per step
  bool sparse = false;
  std::vector<int64_t> segments, indices;
};

struct Reader {
  std::vector<Level> levels;
  Bytes values;
  size_t width = 0, next = 0;
  uint8_t* dense = nullptr;

  // `row`: which entry of the level before this one.
  Status Walk(size_t level, int64_t row, int64_t offset) {
    if (level == levels.size()) {
      if ((next + 1) * width > values.size()) return Bad("it has fewer values than its indices");
      std::memcpy(dense + static_cast<size_t>(offset) * width, values.data() + next * width, width);
      ++next;
      return OkStatus();
    }
    const Level& l = levels[level];
    if (!l.sparse) {
      for (int64_t i = 0; i < l.size; ++i)
        SLIPWAY_RETURN_IF_ERROR(Walk(level + 1, row * l.size + i, offset + i * l.stride));
      return OkStatus();
    }
    if (row + 1 >= static_cast<int64_t>(l.segments.size())) return Bad("a segment is missing");
    for (int64_t i = l.segments[static_cast<size_t>(row)];
         i < l.segments[static_cast<size_t>(row) + 1]; ++i) {
      SLIPWAY_RETURN_IF_ERROR(
          Walk(level + 1, i, offset + l.indices[static_cast<size_t>(i)] * l.stride));
    }
    return OkStatus();
  }
};

}  // namespace

Result<ir::Tensor> Densify(const TensorInfo& t) {
  const fb::SparsityParameters& s = *t.sparsity;
  const size_t rank = static_cast<size_t>(t.shape.rank());
  const size_t total = s.traversal_order() ? s.traversal_order()->size() : 0;
  const size_t blocks = s.block_map() ? s.block_map()->size() : 0;
  if (rank == 0 || total != rank + blocks || blocks > rank || !s.dim_metadata() ||
      s.dim_metadata()->size() != total)
    return Bad("its lists do not fit a tensor of " + std::to_string(rank) + " dimensions");
  if (DTypeBits(t.dtype) < 8)
    return Unsupported("sparse tensors of type " + std::string(DTypeName(t.dtype)) +
                       " are not supported; convert the model without sparsity");
  const auto bytes = static_cast<uint64_t>(*CheckedBytes(t.dtype, t.shape));
  if (bytes > kFreeBytes && bytes / kMostExpansion > t.bytes.size())
    return ResourceExhausted("the sparse tensor would grow from " + std::to_string(t.bytes.size()) +
                             " to " + std::to_string(bytes) + " bytes");

  // Dimension d < rank counts blocks of original dimension d, dimension rank + b places in the
  // block of original dimension block_map[b].
  std::vector<int64_t> block(rank, 1), level_of(total, -1);
  for (size_t i = 0; i < total; ++i) {
    const int32_t d = s.traversal_order()->Get(static_cast<flatbuffers::uoffset_t>(i));
    if (d < 0 || static_cast<size_t>(d) >= total || level_of[static_cast<size_t>(d)] >= 0)
      return Bad("its order of dimensions is no permutation");
    level_of[static_cast<size_t>(d)] = static_cast<int64_t>(i);
  }
  auto metadata = [&](size_t level) {
    return s.dim_metadata()->Get(static_cast<flatbuffers::uoffset_t>(level));
  };
  for (size_t b = 0; b < blocks; ++b) {
    const int32_t d = s.block_map()->Get(static_cast<flatbuffers::uoffset_t>(b));
    const auto* m = metadata(static_cast<size_t>(level_of[rank + b]));
    if (d < 0 || static_cast<size_t>(d) >= rank || block[static_cast<size_t>(d)] != 1 ||
        m->format() != fb::DimensionType::DENSE || m->dense_size() < 1 ||
        t.shape[static_cast<size_t>(d)] % m->dense_size() != 0)
      return Bad("its blocks do not fit the shape " + t.shape.ToString());
    block[static_cast<size_t>(d)] = m->dense_size();
  }
  Reader reader;
  reader.levels.resize(total);
  for (size_t d = 0; d < total; ++d) {
    Level& l = reader.levels[static_cast<size_t>(level_of[d])];
    const size_t original = d < rank ? d
                                     : static_cast<size_t>(s.block_map()->Get(
                                           static_cast<flatbuffers::uoffset_t>(d - rank)));
    const int64_t inner = t.shape.count(static_cast<int>(original) + 1, static_cast<int>(rank));
    l.size = d < rank ? t.shape[d] / block[d] : block[original];
    l.stride = d < rank ? inner * block[d] : inner;
    const auto* m = metadata(static_cast<size_t>(level_of[d]));
    if (m->format() == fb::DimensionType::DENSE) {
      if (m->dense_size() != l.size) return Bad("a dense dimension has another size");
      continue;
    }
    if (m->format() != fb::DimensionType::SPARSE_CSR) return Bad("a dimension has another format");
    l.sparse = true;
    SLIPWAY_ASSIGN_OR_RETURN(l.segments,
                             Numbers(m->array_segments_type(), m->array_segments(), "segments"));
    SLIPWAY_ASSIGN_OR_RETURN(l.indices,
                             Numbers(m->array_indices_type(), m->array_indices(), "indices"));
    int64_t last = 0;
    for (int64_t v : l.segments) {
      if (v < last || v > static_cast<int64_t>(l.indices.size()))
        return Bad("segments are out of order");
      last = v;
    }
    for (int64_t v : l.indices) {
      if (v < 0 || v >= l.size)
        return Bad("index " + std::to_string(v) + " is outside of " + std::to_string(l.size));
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, ir::Tensor::Allocate(t.dtype, t.shape));
  // Codes that are not stored mean the number zero.
  const int64_t zero = t.quantization.zero.empty() ? 0 : t.quantization.zero[0];
  std::memset(out.mutable_data(),
              DTypeBits(t.dtype) == 8 ? static_cast<int>(static_cast<uint8_t>(zero)) : 0,
              out.bytes().size());
  reader.values = t.bytes;
  reader.width = DTypeBytes(t.dtype, 1);
  reader.dense = out.mutable_data();
  SLIPWAY_RETURN_IF_ERROR(reader.Walk(0, 0, 0));
  if (reader.next * reader.width != t.bytes.size()) return Bad("it has more values than indices");
  return out;
}

}  // namespace slipway::tflite

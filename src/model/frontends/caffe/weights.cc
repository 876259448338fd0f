#include "model/frontends/caffe/weights.h"

#include <optional>

#include "base/checked.h"
#include "model/frontends/caffe/net.h"
#include "model/frontends/wire.h"

namespace slipway::caffe {
namespace {

using wire::Field;
using wire::WireReader;
using wire::WireType;
using Bytes = std::span<const uint8_t>;

// BlobProto's fields.
enum : uint32_t {
  kNum = 1,
  kChannels = 2,
  kHeight = 3,
  kWidth = 4,
  kData = 5,
  kShape = 7,
  kDoubleData = 8,
  kRawData = 12,  // NVIDIA's fork
};

class Reader {
 public:
  Reader(std::shared_ptr<const void> owner, const WeightLimits& limits)
      : owner_(std::move(owner)), limits_(limits) {}

  Result<Weights> Run(Bytes bytes) {
    WireReader reader(bytes);
    Field f;
    bool any = false;
    while (reader.Next(&f)) {
      if (f.type != WireType::kBytes) continue;
      if (f.id == 1) out_.net = std::string(f.Text());
      if (f.id != 2 && f.id != 100) continue;  // layers (V0, V1) and layer (V2)
      any = true;
      if (++layers_ > limits_.layers) {
        return ResourceExhausted("more than " + std::to_string(limits_.layers) + " layers");
      }
      SLIPWAY_RETURN_IF_ERROR(f.id == 100 ? Layer(f.bytes, 1, 2, 7) : OldLayer(f.bytes));
    }
    if (!reader.status().ok()) return reader.status();
    if (!any) return InvalidArgument("the file holds no layers; is it a .caffemodel?");
    return std::move(out_);
  }

 private:
  // V1: bottom 2, top 3, name 4, type 5, blobs 6; V0 keeps name 1, type 2, blobs 50 in its field 1.
  Status OldLayer(Bytes bytes) {
    WireReader reader(bytes);
    Field f;
    while (reader.Next(&f)) {
      if (f.id == 1 && f.type == WireType::kBytes) return Layer(f.bytes, 1, 2, 50);
    }
    SLIPWAY_RETURN_IF_ERROR(reader.status());
    return Layer(bytes, 4, 5, 6);
  }

  Status Layer(Bytes bytes, uint32_t name_id, uint32_t type_id, uint32_t blobs_id) {
    std::string name;
    LayerBlobs layer;
    std::vector<Bytes> blobs;
    WireReader reader(bytes);
    Field f;
    while (reader.Next(&f)) {
      if (f.id == name_id && f.type == WireType::kBytes) name = std::string(f.Text());
      if (f.id == type_id && f.type == WireType::kVarint)
        layer.type = std::string(TypeFromV1(f.Int()));
      if (f.id == type_id && f.type == WireType::kBytes) {
        const std::string_view old = blobs_id == 50 ? TypeFromV0(f.Text()) : std::string_view();
        layer.type = std::string(old.empty() ? f.Text() : old);
      }
      if (f.id != blobs_id || f.type != WireType::kBytes) continue;
      if (blobs.size() >= limits_.blobs_per_layer) {
        return ResourceExhausted("layer '" + name.substr(0, 200) + "' has more than " +
                                 std::to_string(limits_.blobs_per_layer) + " blobs");
      }
      blobs.push_back(f.bytes);
    }
    const std::string what = "layer '" + name.substr(0, 200) + "'";
    if (!reader.status().ok()) return reader.status().With(what);
    for (size_t i = 0; i < blobs.size(); ++i) {
      auto blob = Blob(blobs[i]);
      if (!blob.ok()) return blob.status().With(what + ", blob " + std::to_string(i));
      layer.blobs.push_back(std::move(*blob));
    }
    if (layer.blobs.empty()) return OkStatus();
    if (!out_.layers.emplace(name, std::move(layer)).second)
      return InvalidArgument("two layers with blobs are called '" + name.substr(0, 200) + "'");
    out_.order.push_back(name);
    return OkStatus();
  }

  static Status Shape(Bytes bytes, std::vector<int64_t>* dims) {
    WireReader reader(bytes);
    Field f;
    while (reader.Next(&f)) {
      if (f.id != 1) continue;
      bool many = false;
      SLIPWAY_RETURN_IF_ERROR(wire::ForEachVarint(f, [&](uint64_t v) {
        if (dims->size() < kMaxRank)
          dims->push_back(static_cast<int64_t>(v));
        else
          many = true;
      }));
      if (many)
        return Unsupported("the shape has more than " + std::to_string(kMaxRank) + " dimensions");
    }
    return reader.status();
  }

  Result<ir::Tensor> Blob(Bytes bytes) {
    int64_t old[4] = {0, 0, 0, 0};
    bool has_old = false, raw = false;
    std::optional<std::vector<int64_t>> shape;
    std::optional<Bytes> packed;  // the one run of data, when there is no other
    int64_t count = 0;
    bool in_place = true, doubles = false;
    WireReader reader(bytes);
    Field f;
    // First pass: the shape, and how much data in which form.
    while (reader.Next(&f)) {
      if (f.id >= kNum && f.id <= kWidth && f.type == WireType::kVarint) {
        old[f.id - 1] = f.Int();
        has_old = true;
      } else if (f.id == kShape && f.type == WireType::kBytes) {
        shape.emplace();
        SLIPWAY_RETURN_IF_ERROR(Shape(f.bytes, &*shape));
      } else if (f.id == kData || f.id == kDoubleData) {
        const size_t size = f.id == kData ? 4 : 8;
        if (f.type == WireType::kBytes) {
          if (f.bytes.size() % size != 0) return DataLoss("a packed number is cut off");
          count += static_cast<int64_t>(f.bytes.size() / size);
          if (packed || f.id == kDoubleData || count == 0) in_place = false;
          packed = f.bytes;
        } else if (f.type == (size == 4 ? WireType::kFixed32 : WireType::kFixed64)) {
          ++count;
          in_place = false;
        } else {
          return InvalidArgument("the data has the wrong wire type");
        }
        if (f.id == kDoubleData) doubles = true;
      } else if (f.id == kRawData && f.type == WireType::kBytes) {
        raw = true;
      }
    }
    SLIPWAY_RETURN_IF_ERROR(reader.status());
    if (raw && count == 0) {
      return Unsupported(
          "the data is in NVIDIA's raw form; save the model with float data "
          "(store_blobs_in_old_format)");
    }
    std::vector<int64_t> dims;
    if (shape) {
      dims = *shape;
    } else if (has_old) {
      dims.assign(old, old + 4);
    } else {
      dims = {count};
    }
    const auto wanted = CheckedCount(dims);
    if (!wanted || !CheckedBytes(DType::kFloat32, dims))
      return InvalidArgument("the shape is impossible");
    if (*wanted != count) {
      return InvalidArgument("the shape " + Dims(std::span<const int64_t>(dims)).ToString() +
                             " has " + std::to_string(*wanted) + " elements, the data " +
                             std::to_string(count));
    }
    const Dims extent{std::span<const int64_t>(dims)};
    if (in_place && packed && !doubles)
      return ir::Tensor::Wrap(DType::kFloat32, extent, *packed, owner_);
    if (count > limits_.unpacked_elements)
      return ResourceExhausted("more than " + std::to_string(limits_.unpacked_elements) +
                               " elements that cannot be mapped");
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(DType::kFloat32, extent));
    auto* to = reinterpret_cast<float*>(t.mutable_data());
    int64_t at = 0;
    WireReader again(bytes);
    while (again.Next(&f)) {
      if (f.id == kData) {
        SLIPWAY_RETURN_IF_ERROR(wire::ForEachFixed<float>(f, [&](float v) { to[at++] = v; }));
      } else if (f.id == kDoubleData) {
        SLIPWAY_RETURN_IF_ERROR(
            wire::ForEachFixed<double>(f, [&](double v) { to[at++] = static_cast<float>(v); }));
      }
    }
    return t;
  }

  std::shared_ptr<const void> owner_;
  const WeightLimits& limits_;
  Weights out_;
  size_t layers_ = 0;
};

}  // namespace

Result<Weights> ReadWeights(std::span<const uint8_t> bytes, std::shared_ptr<const void> owner,
                            const WeightLimits& limits) {
  return Reader(std::move(owner), limits).Run(bytes);
}

}  // namespace slipway::caffe

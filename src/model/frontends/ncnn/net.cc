#include "model/frontends/ncnn/net.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/float16.h"

namespace slipway::ncnn {
namespace {

constexpr uint32_t kFloat32Flag = 0;
constexpr uint32_t kFloat16Flag = 0x01306B47;
constexpr uint32_t kInt8Flag = 0x000D4B38;
constexpr size_t kLongestName = 200;  // ncnn reads at most 255 characters

// A float always has a point or an exponent: without one ncnn reads an integer.
std::string FloatText(float v) {
  char text[48];
  std::snprintf(text, sizeof text, "%.9g", static_cast<double>(v));
  std::string s = text;
  if (s.find_first_of(".en") == std::string::npos) s += ".0";
  return s;
}

std::string ParamEntry(int id, const ParamValue& value) {
  struct Visitor {
    int id;
    std::string Head() const { return std::to_string(id) + "="; }
    std::string operator()(int64_t v) const { return Head() + std::to_string(v); }
    std::string operator()(float v) const { return Head() + FloatText(v); }
    std::string operator()(const std::vector<int64_t>& v) const {
      std::string s = std::to_string(-23300 - id) + "=" + std::to_string(v.size());
      for (int64_t i : v) s += "," + std::to_string(i);
      return s;
    }
    std::string operator()(const std::vector<float>& v) const {
      std::string s = std::to_string(-23300 - id) + "=" + std::to_string(v.size());
      for (float f : v) s += "," + FloatText(f);
      return s;
    }
  };
  return std::visit(Visitor{id}, value);
}

}  // namespace

std::string Net::Unique(const std::string& wanted, std::vector<std::string>* taken) {
  std::string base;
  for (char c : wanted.substr(0, kLongestName))
    base +=
        std::isspace(static_cast<unsigned char>(c)) || std::iscntrl(static_cast<unsigned char>(c))
            ? '_'
            : c;
  if (base.empty()) base = "unnamed";
  std::string name = base;
  auto at = std::lower_bound(taken->begin(), taken->end(), name);
  for (int n = 0; at != taken->end() && *at == name; ++n) {
    name = base + "_" + std::to_string(n);
    at = std::lower_bound(taken->begin(), taken->end(), name);
  }
  taken->insert(at, name);
  return name;
}

Layer* Net::Add(std::string type, const std::string& wanted) {
  Layer layer;
  layer.type = std::move(type);
  layer.name = Unique(wanted, &names_);
  layers_.push_back(std::move(layer));
  return &layers_.back();
}

std::string Net::NewBlob(const std::string& wanted) { return Unique(wanted, &blobs_); }

void Net::InsertSplits() {
  std::map<std::string, int> readers, next;
  for (const Layer& l : layers_) {
    for (const std::string& in : l.inputs) ++readers[in];
  }
  std::map<std::string, std::vector<std::string>> copies;
  std::vector<Layer> out;
  for (Layer& l : layers_) {
    for (std::string& in : l.inputs) {
      if (auto it = copies.find(in); it != copies.end())
        in = it->second[static_cast<size_t>(next[it->first]++)];
    }
    const std::vector<std::string> outputs = l.outputs;
    out.push_back(std::move(l));
    for (const std::string& blob : outputs) {
      const int count = readers[blob];
      if (count < 2) continue;
      Layer split;
      split.type = "Split";
      split.name = Unique("split_" + blob, &names_);
      split.inputs = {blob};
      for (int i = 0; i < count; ++i)
        split.outputs.push_back(Unique(blob + "_split" + std::to_string(i), &blobs_));
      copies[blob] = split.outputs;
      out.push_back(std::move(split));
    }
  }
  layers_ = std::move(out);
}

std::string Net::ParamText(int* blob_count) const {
  *blob_count = 0;
  std::string body;
  for (const Layer& l : layers_) {
    *blob_count += static_cast<int>(l.outputs.size());
    char head[64];
    std::snprintf(head, sizeof head, "%-24s ", l.type.c_str());
    body += head;
    std::snprintf(head, sizeof head, " %zu %zu", l.inputs.size(), l.outputs.size());
    body += l.name + head;
    for (const auto& blob : l.inputs) body += " " + blob;
    for (const auto& blob : l.outputs) body += " " + blob;
    auto params = l.params;
    std::sort(params.begin(), params.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [id, value] : params) body += " " + ParamEntry(id, value);
    body += "\n";
  }
  return "7767517\n" + std::to_string(layers_.size()) + " " + std::to_string(*blob_count) + "\n" +
         body;
}

void Net::Bin(bool half, const std::function<void(const void*, size_t)>& write) const {
  std::vector<uint16_t> narrow;
  for (const Layer& l : layers_) {
    for (const Weight& w : l.weights) {
      if (w.data.dtype() == DType::kInt8) {
        constexpr uint8_t kZeros[4] = {};
        const size_t size = w.data.bytes().size();
        write(&kInt8Flag, sizeof kInt8Flag);
        write(w.data.bytes().data(), size);
        write(kZeros, (4 - size % 4) % 4);
        continue;
      }
      if (!w.tagged || !half) {
        if (w.tagged) write(&kFloat32Flag, sizeof kFloat32Flag);
        write(w.data.bytes().data(), w.data.bytes().size());
        continue;
      }
      write(&kFloat16Flag, sizeof kFloat16Flag);
      const auto n = static_cast<size_t>(w.data.count());
      narrow.resize(n + n % 2);  // to a multiple of four bytes
      narrow.back() = 0;
      for (size_t i = 0; i < n; ++i) {
        float value;
        std::memcpy(&value, w.data.bytes().data() + i * sizeof value, sizeof value);
        const Float16 h(value);
        std::memcpy(&narrow[i], &h, sizeof(uint16_t));
      }
      write(narrow.data(), narrow.size() * sizeof(uint16_t));
    }
  }
}

Result<int64_t> Net::WriteBin(const std::string& path, bool half) const {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  int64_t size = 0;
  Bin(half, [&](const void* data, size_t bytes) {
    out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    size += static_cast<int64_t>(bytes);
  });
  out.close();
  if (!out) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
    return Unavailable("cannot write '" + path +
                       "'; check the folder, its permissions and the space on the disk");
  }
  return size;
}

}  // namespace slipway::ncnn

#include "quant/exporters/range_files.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>

namespace slipway::quant {
namespace {

// The shortest text that reads back as the same number; valid JSON.
template <typename T>
std::string Number(T v) {
  char text[64];
  auto end = std::to_chars(text, text + sizeof text, v);
  return {text, end.ptr};
}

// The number called `what` of channel `c`; empty when there is none of that name.
std::string Field(const QuantTensor& t, std::string_view what, size_t c) {
  const double scale = t.scales[c];
  const auto zero = static_cast<double>(t.zeros[c]);
  const auto lo = static_cast<double>(t.lowest()), hi = static_cast<double>(t.highest());
  if (what == "scale") return Number(t.scales[c]);
  if (what == "zero") return Number(t.zeros[c]);
  if (what == "min") return Number((lo - zero) * scale);
  if (what == "max") return Number((hi - zero) * scale);
  if (what == "reach") return Number(hi * scale);
  if (what == "minus_reach") return Number(-hi * scale);
  if (what == "offset") return Number(t.lowest() - t.zeros[c]);
  if (what == "signed_zero")
    return Number(t.zeros[c] - (t.params.is_signed ? 0 : int64_t{1} << (t.params.bits - 1)));
  if (what == "hex") {
    char text[16];
    std::snprintf(text, sizeof text, "%08x", std::bit_cast<uint32_t>(t.scales[c]));
    return text;
  }
  return "";
}

// The largest magnitude of a constant.
double Peak(const QuantTensor& t) {
  const std::vector<int64_t> codes = t.codes.ToInts();
  const Dims& dims = t.codes.dims();
  const int64_t inner = t.per_channel() ? dims.count(t.axis + 1, dims.rank()) : 1;
  double peak = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t c = t.per_channel()
                         ? static_cast<size_t>(static_cast<int64_t>(i) / inner) % t.scales.size()
                         : 0;
    peak = std::max(peak, std::fabs(static_cast<double>(codes[i] - t.zeros[c]) * t.scales[c]));
  }
  return peak;
}

// `channel` -1: all of them.
std::string Expand(const QuantTensor& t, const char* pattern, bool json, int64_t channel) {
  std::string out;
  for (const char* p = pattern; *p;) {
    if (*p != '$') {
      out += *p++;
      continue;
    }
    const char bracket = *++p;
    const bool list = bracket == '[';
    if (list || bracket == '{') ++p;
    const char* start = p;
    while ((*p >= 'a' && *p <= 'z') || *p == '_') ++p;
    const std::string what(start, p);
    if (list || bracket == '{') ++p;
    auto text = [&](const std::string& s) { return json ? JsonText(s) : s; };
    if (what == "name") {
      out += text(t.name);
    } else if (what == "node") {
      out += text(t.node.empty() ? t.name : t.node);
    } else if (what == "index") {
      out += std::to_string(t.index);
    } else if (what == "bits") {
      out += std::to_string(t.params.bits);
    } else if (what == "symmetric") {
      out += t.symmetric() ? "True" : "False";
    } else if (what == "qtype") {
      out += (t.params.is_signed ? "i" : "u") + std::to_string(t.params.bits);
    } else if (what == "peak" || what == "minus_peak") {
      out += (what == "peak" ? "" : "-") + Number(Peak(t));
    } else if (channel >= 0) {
      out += Field(t, what, static_cast<size_t>(channel));
    } else if (!list && !t.per_channel()) {
      out += Field(t, what, 0);
    } else {
      out += '[';
      for (size_t c = 0; c < t.scales.size(); ++c) out += (c ? ", " : "") + Field(t, what, c);
      out += ']';
    }
  }
  return out;
}

unsigned RoleBit(const QuantTensor& t) { return 1u << static_cast<unsigned>(t.role); }

Status CheckLineName(const QuantTensor& t) {
  for (unsigned char c : t.name) {
    if (c <= ' ') {
      return Unsupported("the name of " + std::string(t.RoleName()) + " '" + t.name +
                         "' has a blank in it, and the file separates its fields by blanks; rename "
                         "the tensor in the model");
    }
  }
  return OkStatus();
}

constexpr char kEncoding[] =
    R"({"bitwidth": $bits, "dtype": "int", "is_symmetric": "$symmetric", "max": $max, )"
    R"("min": $min, "offset": $offset, "scale": $scale})";
constexpr char kPplEntry[] =
    R"({"step": $scale, "zero_point": $zero, "min": $min, "max": $max, "bit": $bits, )"
    R"("type": "biased"})";
constexpr char kRvEntry[] =
    R"({"dtype": "asymmetric_affine", "method": "layer", "max_value": $[max], )"
    R"("min_value": $[min], "scale": $[scale], "zero_point": $[zero], "qtype": "$qtype"})";
constexpr char kRvBias[] =
    R"({"dtype": "asymmetric_affine", "method": "layer", "max_value": [], "min_value": [], )"
    R"("scale": $[scale], "zero_point": $[zero], "qtype": "$qtype"})";
constexpr char kRkEntry[] = R"({"max": $[max], "min": $[min]})";
constexpr char kRkBias[] = R"({"max": [$peak], "min": [$minus_peak]})";
constexpr char kReach[] = R"({"min": $minus_reach, "max": $reach})";

}  // namespace

std::string JsonText(const std::string& s) {
  std::string out;
  for (unsigned char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    if (c < 0x20) {
      char text[8];
      std::snprintf(text, sizeof text, "\\u%04x", c);
      out += text;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

const std::vector<RangeFile>& RangeFiles() {
  // Where the forms were read: docs/export.md.
  static const std::vector<RangeFile> files = {
      {"tensorrt",
       "_blob_range.json",
       true,
       "{\"tensorrt\": {\"blob_range\": {\n",
       {{kActivations, "", "$name", "$reach", ""}},
       "\n}}}\n",
       kParameters},
      {"tensorrt",
       "_calibration.cache",
       false,
       "TRT-8601-EntropyCalibration2\n",
       {{kActivations, "", "", "$name: $hex", ""}},
       "\n",
       kParameters},
      {"snpe",
       ".encodings",
       true,
       "{\"version\": \"0.6.1\",\n",
       {{kActivations, "\"activation_encodings\": {\n", "$name", kEncoding, "\n},\n", true},
        {kParameters, "\"param_encodings\": {\n", "$name", kEncoding, "\n}", true}},
       "}\n"},
      {"ppl",
       "_ranges.json",
       true,
       "{\"ppl\": {\n",
       {{kAllTensors, "", "$name", kPplEntry, ""}},
       "\n}}\n"},
      {"vitis",
       "_ranges.json",
       true,
       "{\"vitis\": {\n",
       {{kAllTensors, "", "$name", R"({"scale": $scale})", ""}},
       "\n}}\n"},
      {"tengine", ".scale", false, "", {{kAllTensors, "", "", "$name $scale $zero", ""}}, "\n"},
      {"rknn",
       "_quantized_param_rv1126.json",
       true,
       "{\"customized_quantize_layers\": {},\n\"quantize_parameters\": {\n",
       {{kActivations, "", "@$node:out$index", kRvEntry, nullptr},
        {kWeights, nullptr, "@$node:weight", kRvEntry, nullptr},
        {kBiases, nullptr, "@$node:bias", kRvBias, ""}},
       "\n}}\n"},
      {"rknn",
       "_quantized_param_rk3568.json",
       true,
       "{\"custom_quantize_layers\": {},\n\"quantize_parameters\": {\n",
       {{kActivations, "", "$name", kRkEntry, nullptr},
        {kWeights, nullptr, "${node}_W", kRkEntry, nullptr},
        {kBiases, nullptr, "${node}_b", kRkBias, ""}},
       "\n}}\n"},
      {"ascend",
       "_quant_param.json",
       true,
       "{\n",
       {{kAllTensors, "", "$name", R"({"scale": $scale, "offset": $signed_zero})", ""}},
       "\n}\n"},
      {"magicmind",
       "_quant_param.json",
       true,
       "{\"blob_range\": {\n",
       {{kAllTensors, "", "$name", R"({"min": $min, "max": $max})", ""}},
       "\n}}\n"},
      {"tidl", "_blob_range.txt", false, "", {{kAllTensors, "", "", "$name $min $max", ""}}, "\n"},
      {"tidl",
       "_blob_range.json",
       true,
       "{\"blob_range\": {\n",
       {{kAllTensors, "", "$name", "[$min, $max]", ""}},
       "\n}}\n"},
      {"imx",
       "_scale.json",
       true,
       "{\"blob_range\": {\n",
       {{kAllTensors, "", "$name", "$scale", ""}},
       "\n}}\n"},
      {"stpu",
       "_minmax.json",
       true,
       "{\n",
       {{kActivations, "", "$name", kReach, nullptr},
        {kWeights, nullptr, "${node}_weights", kReach, nullptr},
        {kBiases, nullptr, "${node}_bias", R"({"alpha": $scale, "zero_point": $zero})", ""}},
       "\n}\n"},
  };
  return files;
}

Result<std::string> WriteRanges(const QuantizedModel& model, const RangeFile& file) {
  std::string out = file.head;
  std::vector<bool> written(model.tensors.size());
  std::map<std::string, std::string> keys;  // to the tensor that has it
  bool first = true;
  for (const RangePart& part : file.parts) {
    if (part.open) {
      out += part.open;
      first = true;
    }
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      const QuantTensor& t = model.tensors[i];
      if (!(part.roles & RoleBit(t))) continue;
      written[i] = true;
      if (!first) out += file.json ? ",\n" : "\n";
      first = false;
      if (!file.json) {
        SLIPWAY_RETURN_IF_ERROR(CheckLineName(t));
        out += Expand(t, part.entry, false, -1);
        continue;
      }
      const std::string key = Expand(t, part.key, true, -1);
      // Two sections may have the same name: the key counts within one.
      if (auto [it, is_new] = keys.try_emplace((part.open ? part.open : "") + key, t.name);
          !is_new) {
        return Unsupported("tensors '" + it->second + "' and '" + t.name + "' would both be '" +
                           key + "' in the file " + file.suffix +
                           "; give the nodes of the model different names");
      }
      out += "\"" + key + "\": ";
      if (!part.each_channel) {
        out += Expand(t, part.entry, true, -1);
        continue;
      }
      for (size_t c = 0; c < t.scales.size(); ++c)
        out += (c ? ",\n  " : "[") + Expand(t, part.entry, true, static_cast<int64_t>(c));
      out += "]";
    }
    if (part.close) out += part.close;
  }
  out += file.tail;
  for (size_t i = 0; i < written.size(); ++i) {
    const QuantTensor& t = model.tensors[i];
    if (!written[i] && !(file.omitted & RoleBit(t))) {
      return Internal(std::string(t.RoleName()) + " '" + t.name + "' is missing in the file " +
                      file.suffix);
    }
  }
  return out;
}

Result<QuantBundle> MakeRanges(const QuantExporter& row, const QuantizedModel& model,
                               const QuantExportRequest& request) {
  QuantBundle bundle;
  for (const RangeFile& file : RangeFiles()) {
    if (file.format != std::string_view(row.name)) continue;
    SLIPWAY_ASSIGN_OR_RETURN(std::string text, WriteRanges(model, file));
    bundle.files.push_back({request.stem + file.suffix, std::move(text), nullptr});
  }
  SLIPWAY_ASSIGN_OR_RETURN(ExportedFile graph, OnnxFile(request.stem + "_float.onnx", *model.real,
                                                        model, OpsetFor(model, request), true));
  bundle.files.push_back(std::move(graph));
  return bundle;
}

}  // namespace slipway::quant
